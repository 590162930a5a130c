"""Two instances behind a real HAProxy that looks at /readyz: one ends under load, and no request fails."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from loadtests.bodies import photo
from loadtests.process import free_port
from tests.process import Process

pytestmark = pytest.mark.skipif(not shutil.which("haproxy"), reason="needs Debian's package haproxy")

TIMES = 20
DRAIN_DELAY = 2  # seconds; the checks below need 0.4 to see it
CLIENTS = 4
CONFIGURATION = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout check 5s  # a busy machine is slow to answer, and is not gone
    retries {retries}
    {more}
frontend front
    bind 127.0.0.1:{port}
    default_backend instances
backend instances
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter 200ms fall 2 rise 1
{servers}
"""


def instance(port: int) -> Process:
    return Process(backend="onnx", port=port, drain_delay_seconds=DRAIN_DELAY, threads=1)


@contextmanager
def haproxy(folder: Path, ports: list[int], retries: int, more: str) -> Iterator[int]:
    """The port on which it listens."""
    port = free_port()
    servers = "\n".join(f"    server s{each} 127.0.0.1:{each}" for each in ports)
    configuration = folder / "haproxy.cfg"
    configuration.write_text(CONFIGURATION.format(port=port, servers=servers, retries=retries, more=more))
    process = subprocess.Popen(["haproxy", "-db", "-f", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def load(port: int, keep: bool) -> Iterator[Counter[str]]:
    """Clients that send photos; what became of each. `keep`: each on one connection."""
    outcomes: Counter[str] = Counter()
    ended = threading.Event()
    time.sleep(1)  # the proxy's first checks
    body = photo(320, 240)

    def client() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        while not ended.is_set():
            try:
                connection.request("POST", "/embed", body, {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                answer.read()
                outcomes[str(answer.status)] += 1
            except (OSError, HTTPException) as error:
                outcomes[repr(error)] += 1
                connection.close()
            if not keep:
                connection.close()
            time.sleep(0.01)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("keep", [True, False], ids=["kept connections", "new connections"])
@pytest.mark.parametrize(
    ("retries", "more"), [(0, ""), (3, "option redispatch")], ids=["no retries", "with retries"]
)
def test_no_request_fails_while_instances_end_under_load(
    tmp_path: Path, retries: int, more: str, keep: bool
) -> None:
    ports = [free_port(), free_port()]
    instances = [instance(port) for port in ports]
    for process in instances:
        process.wait_ready()
    with haproxy(tmp_path, ports, retries, more) as port, load(port, keep) as outcomes:
        for time_ in range(TIMES // 4):
            ending = instances[time_ % 2]
            ending.popen.send_signal(signal.SIGTERM)
            assert ending.ended(40)[0] == 0
            instances[time_ % 2] = instance(ports[time_ % 2])
            instances[time_ % 2].wait_ready()
            time.sleep(1)  # until it is in the rotation again
    for process in instances:
        assert process.stop()[0] == 0
    assert set(outcomes) == {"200"}, outcomes
    assert outcomes["200"] > TIMES
