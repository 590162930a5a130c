"""One address has hundreds and thousands of connections in closed loops: another has its answers, in time."""

from __future__ import annotations

import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.process import free_port
from tests.abuse.loops import ROUTES, loops
from tests.abuse.scenario import Company, good_clients, seen_for
from tests.abuse.victim import Victim
from tests.abuse.wire import Address

pytestmark = pytest.mark.nightly

SECONDS = 20.0
ALL_BYTES = 256_000_000  # as CLIPSERVE_MAX_IN_FLIGHT_BYTES
# The service's edge, as far as it is about connections: deploy/edge/haproxy.cfg.
CONFIGURATION = """
global
    maxconn 9000
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout queue 5s
frontend front
    bind 127.0.0.1:{port}
    tcp-request connection track-sc0 src table addresses
    tcp-request connection reject if {{ sc0_conn_cur gt 200 }}
    default_backend service
backend addresses
    stick-table type ipv6 size 100k expire 1m store conn_cur
backend service
    server one {host}:{service} maxconn 400
"""


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def haproxy(folder: Path, service: Address) -> Iterator[Address]:
    """Where it listens."""
    port, configuration = free_port(), folder / "haproxy.cfg"
    configuration.write_text(CONFIGURATION.format(port=port, host=service[0], service=service[1]))
    process = subprocess.Popen(["haproxy", "-db", "-f", str(configuration)])
    try:
        while not listens(port):
            assert process.poll() is None, "haproxy has ended; its output says why"
            time.sleep(0.1)
        yield "127.0.0.1", port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A service that knows that all clients have a proxy's address, and the proxy."""
    victim = Victim(backend="onnx", max_in_flight_bytes_per_address=ALL_BYTES)
    with haproxy(tmp_path_factory.mktemp("edge"), victim.address) as address:
        yield address
    assert victim.close() == 0


def beside(address: Address, connections: int, route: str) -> Company:
    """What another address sees."""
    with good_clients(address, 1, route) as clients, loops(address, connections, route, "127.0.0.2"):
        return seen_for(clients, SECONDS)


def judge(company: Company) -> None:
    lost = f"{company.lost:.0%} lost, p99 {company.p99:.2f} s" if company.probes else "none answered"
    print(f"{len(company.probes)} requests of another address: {lost}")
    assert company.probes
    assert company.lost <= 0.05, company.statuses
    assert company.p99 < 1.0, f"{company.p99:.2f} s"


@pytest.mark.parametrize("connections", [540, 1_000, 5_000])
@pytest.mark.parametrize("route", ROUTES)
def test_another_address_has_its_answers(victim: Victim, route: str, connections: int) -> None:
    judge(beside(victim.address, connections, route))
    victim.rest()


@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs Debian's package haproxy")
@pytest.mark.parametrize("connections", [540, 1_000, 5_000])
@pytest.mark.parametrize("route", ROUTES)
def test_another_address_has_its_answers_behind_a_proxy_that_limits_connections(
    edge: Address, route: str, connections: int
) -> None:
    judge(beside(edge, connections, route))
