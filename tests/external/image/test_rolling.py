"""Instances behind the real edge are replaced under load, over TLS: no request fails, of REST and of gRPC."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from loadtests.process import free_port
from tests.external.image.clients import load
from tests.external.image.container import HARDENED, Container, until
from tests.external.image.edge import CERTIFICATE, certificate
from tests.external.image.engine import ROOT, Engine
from tests.process import get

ROLLS = int(os.environ.get("ROLLS", "1"))  # of two
NETWORK = "clipserve-rolling-test"
DRAIN_DELAY = 3000  # seconds; a test ends it once the edge has seen it, however long a busy machine takes


@dataclass(frozen=True)
class Edge:
    """`address`: host:port of REST and gRPC, over TLS. `metrics`: the address of its own figures."""

    address: str
    metrics: str

    def wait_known(self, count: int) -> None:
        """Until it sends requests to so many instances, and others have no more to answer."""
        until(lambda: self._knows(count), self._page)

    def _knows(self, count: int) -> bool:
        server, page = r'\{proxy="(\w+)",server="(\w+)"', self._page()
        up = re.findall(rf'^haproxy_server_status{server},state="UP"\}} 1$', page, re.M)
        busy = re.findall(rf"^haproxy_server_current_sessions{server}\}} [1-9]\d*$", page, re.M)
        return Counter(backend for backend, _ in up) == {"rest": count, "grpc": count} and {*busy} <= {*up}

    def _page(self) -> str:
        """Empty where nothing listens yet."""
        try:
            return get(self.metrics).text
        except httpx.TransportError:
            return ""


@pytest.fixture
def edge(engine: Engine, tmp_path: Path) -> Iterator[Edge]:
    """It looks for instances with the name `gateway`, and waits a minute for one that answers its check late."""
    connect = "timeout connect 2s\n"
    text = (ROOT / "deploy/edge/haproxy.cfg").read_text()
    assert connect in text
    (tmp_path / "haproxy.cfg").write_text(text.replace(connect, f"{connect}    timeout check 60s\n"))
    image, port, metrics = engine.stand_in("haproxy"), free_port(), free_port()
    certificate(engine)
    folder = "/usr/local/etc/haproxy"
    engine.run("podman", "network", "create", "--ignore", NETWORK)
    container = engine.run(
        *("podman", "run", "--detach", *HARDENED, f"--network={NETWORK}", f"--publish=127.0.0.1:{port}:8443"),
        f"--publish=127.0.0.1:{metrics}:8405",
        f"--volume={tmp_path}/haproxy.cfg:{folder}/haproxy.cfg:ro",
        *(f"--volume={CERTIFICATE.parent}/tls:{folder}/tls:ro", "--env=EDGE_TO=gateway"),
        *(image, "haproxy", "-f", f"{folder}/haproxy.cfg"),
    )
    try:
        yield Edge(f"localhost:{port}", f"http://127.0.0.1:{metrics}/metrics")
    finally:
        print(engine.run("podman", "logs", container))  # requests that failed, and why
        engine.run("podman", "rm", "--force", "--time=0", container)
        engine.run("podman", "network", "rm", "--force", NETWORK)


def instance(engine: Engine, image: str) -> Container:
    options = [f"--network={NETWORK}", "--network-alias=gateway"]
    # A machine that is busy with other things refuses nothing here: that is another test's subject.
    patient = {"max_queue_seconds": 50, "deadline_seconds": 50}
    return Container(engine, image, *options, drain_delay_seconds=DRAIN_DELAY, threads=1, **patient)


@pytest.mark.parametrize("rolls", [ROLLS, pytest.param(8, marks=pytest.mark.nightly)])
def test_no_request_fails_while_instances_are_replaced(
    engine: Engine, image: str, edge: Edge, rolls: int
) -> None:
    instances = [instance(engine, image) for _ in range(2)]
    try:
        for each in instances:
            each.wait_ready()
        edge.wait_known(2)
        with load({"rest": f"https://{edge.address}", "grpc": edge.address}, CERTIFICATE) as clients:
            for _ in range(rolls):
                ending = instances.pop(0)
                ending.drain()
                edge.wait_known(1)
                assert ending.stop() == 0
                ending.remove()
                instances.append(instance(engine, image))
                instances[-1].wait_ready()
                edge.wait_known(2)
    finally:
        for each in instances:
            each.remove()
    print(f"\n{rolls} rolls: {dict(clients.outcomes)}")
    assert set(clients.outcomes) == {"REST 200", "gRPC OK"}, clients.outcomes
