"""Each profile of docker-compose.yml that needs no GPU, started for real; Debian has no Grafana."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest

from tests.external.image.compose import Compose
from tests.external.image.container import classify, classify_by_grpc, until
from tests.external.image.edge import CERTIFICATE, certificate
from tests.external.image.engine import Engine


@pytest.fixture(scope="module")
def compose(engine: Engine, image: str) -> Iterator[Compose]:
    """The service, the edge, Prometheus, Alertmanager and Redis."""
    engine.stand_in("haproxy")
    engine.stand_in("redis")
    engine.stand_in("prometheus", 'ENTRYPOINT ["/usr/bin/prometheus"]')
    engine.stand_in("alertmanager", 'ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]')
    certificate(engine)
    made = Compose(
        engine,
        CLIPSERVE_REDIS_URL="redis://redis:6379/0",
        CLIPSERVE_LABEL_SET_STORE="redis",
        CLIPSERVE_IMAGE=image,
    )
    try:
        services = ("clipserve", "edge", "prometheus", "alertmanager", "redis")
        made.up(*services, profiles=("edge", "monitoring", "redis"))
        until(lambda: ready(made), lambda: made.log("clipserve"))
        for service, others in (
            ("clipserve", ("redis",)),
            ("edge", ("clipserve",)),
            ("prometheus", ("alertmanager", "edge")),
        ):
            for other in others:
                made.wait_found(service, other)
        yield made
    finally:
        made.down()


def ready(compose: Compose) -> bool:
    return bool(ask(f"http://127.0.0.1:{compose.ports['OPERATIONS_PORT']}/readyz").get("status") == "ready")


def ask(url: str) -> Any:
    """JSON, or {} where nothing listens yet, or Prometheus says in plain words that it starts."""
    try:
        return httpx.get(url, timeout=60).json()
    except (httpx.TransportError, ValueError):
        return {}


def secure(compose: Compose) -> str:
    return f"localhost:{compose.ports['EDGE_PORT']}"


def test_the_edge_speaks_tls_for_rest_and_grpc(compose: Compose) -> None:
    def answers(classified: Callable[[], str]) -> bool:
        """The edge sends nobody to an instance that has not answered its last two checks in a second each."""
        try:
            return classified() == "cat"
        except (httpx.HTTPError, grpc.RpcError):
            return False

    context = ssl.create_default_context(cafile=CERTIFICATE)
    with httpx.Client(base_url=f"https://{secure(compose)}", verify=context, timeout=60) as client:
        until(lambda: answers(lambda: classify(client)), lambda: compose.log("edge"))
    credentials = grpc.ssl_channel_credentials(CERTIFICATE.read_bytes())
    with grpc.secure_channel(secure(compose), credentials) as channel:
        until(lambda: answers(lambda: classify_by_grpc(channel)), lambda: compose.log("edge"))


def test_prometheus_reaches_the_metrics_of_the_edge(compose: Compose) -> None:
    get = r"printf 'GET /metrics HTTP/1.0\r\n\r\n'"
    shown = compose.execute("prometheus", "bash", "-c", f"exec 3<>/dev/tcp/edge/8405; {get} >&3; cat <&3")
    assert "\nhaproxy_process_uptime_seconds " in shown


def test_label_sets_are_kept_in_redis(compose: Compose) -> None:
    url = f"http://127.0.0.1:{compose.ports['PORT']}/label-sets/pets"
    # A Redis that waits for a core for a second is one that cannot be reached.
    put = functools.partial(httpx.put, url, json={"labels": ["cat", "dog"]}, timeout=60)
    until(lambda: put().is_success, lambda: compose.log("clipserve"))
    assert int(compose.execute("redis", "redis-cli", "dbsize")) > 0


def test_redis_is_in_no_network_that_the_edge_is_in(compose: Compose) -> None:
    assert not compose.finds("edge", "redis")
    assert compose.finds("clipserve", "redis")


SERVICES = ("clipserve", "edge", "prometheus", "alertmanager", "redis")


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_has_a_capability_or_a_root_that_can_be_written(compose: Compose, service: str) -> None:
    asked = "cat /proc/1/status; touch /made 2>/dev/null || echo refused"
    status = compose.execute(service, "sh", "-c", asked)
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert status.endswith("\nrefused")


# Last: Prometheus asks each 15 s whom to scrape, and then scrapes; the others need not wait for that.


def test_prometheus_scrapes_the_service_and_has_read_its_rules(compose: Compose) -> None:
    url = f"http://127.0.0.1:{compose.ports['PROMETHEUS_PORT']}/api/v1"

    def scraped() -> bool:
        result = ask(f"{url}/query?query=up{{job='clipserve'}}").get("data", {}).get("result", [])
        return any(each["value"][1] == "1" for each in result)

    until(scraped, lambda: str(ask(f"{url}/targets")))
    assert ask(f"{url}/rules")["data"]["groups"]


def test_prometheus_has_found_alertmanager(compose: Compose) -> None:
    url = f"http://127.0.0.1:{compose.ports['PROMETHEUS_PORT']}/api/v1/alertmanagers"
    until(lambda: bool(ask(url).get("data", {}).get("activeAlertmanagers")), lambda: str(ask(url)))
    receivers = f"http://127.0.0.1:{compose.ports['ALERTMANAGER_PORT']}/api/v2/receivers"
    until(lambda: bool(ask(receivers)), lambda: compose.log("alertmanager"))
    assert [each["name"] for each in ask(receivers)] == ["page", "ticket"]
