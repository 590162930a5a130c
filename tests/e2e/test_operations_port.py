"""The operations port of a real process: its connections are taken, it is stopped and goes on, it drains."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from clipserve.operations.page import MAX_BLOCKED_SECONDS
from tests.support.process import LIGHT, PATIENT, ROOT, SLOW_BODIES, Process, get, waited_until

pytestmark = pytest.mark.slow


def test_a_thousand_idle_connections_on_the_operations_port_take_nothing_from_the_service() -> None:
    process = Process("sh", "-c", 'ulimit -n 600; exec "$@"', "sh", **LIGHT)
    process.wait_ready()
    url = httpx.URL(process.operations_url)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4_000, hard)), hard))
    idle = [socket.create_connection((url.host, url.port), 20) for _ in range(1_000)]
    for base in (process.url, process.operations_url):
        for path in ("/livez", "/readyz"):
            waited_until(lambda base=base, path=path: get(base + path).status_code == 200)  # type: ignore[misc]
    for connection in idle:
        connection.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    status, log = process.stop()
    assert status == 0
    assert '"event": "few_open_files"' in log


def test_a_process_that_was_stopped_as_a_whole_is_not_taken_for_blocked() -> None:
    process = Process(**LIGHT)
    process.wait_ready()
    process.popen.send_signal(signal.SIGSTOP)
    time.sleep(MAX_BLOCKED_SECONDS + 2)
    process.popen.send_signal(signal.SIGCONT)
    for _ in range(50):
        assert get(process.operations_url + "/livez").status_code == 200
    assert process.stop()[0] == 0


def test_while_the_service_drains_it_is_alive_and_not_ready() -> None:
    process = Process(drain_seconds=200, **LIGHT, **PATIENT, **SLOW_BODIES)
    process.wait_ready()
    url = httpx.URL(process.url)
    body = b'{"texts": ["a cat"]}'
    header = f"POST /embed HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n"
    waited_until(lambda: get(process.operations_url + "/readyz").status_code == 200)
    with socket.create_connection((url.host, url.port), 200) as connection:
        connection.sendall(header.encode() + b"content-type: application/json\r\n\r\n" + body[:5])
        process.popen.send_signal(signal.SIGTERM)
        waited_until(lambda: get(process.operations_url + "/readyz").status_code != 200)
        assert get(process.operations_url + "/livez").status_code == 200
        connection.sendall(body[5:])
        assert connection.recv(1_000).startswith(b"HTTP/1.1 200 ")
    assert process.ended()[0] == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_the_health_check_of_the_image_asks_the_operations_port(host: str) -> None:
    process = Process(host=host, **LIGHT)
    found = re.search(r"^HEALTHCHECK .*\\\n +CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    command = [sys.executable, *json.loads(found[1])[1:]]

    def healthy(port: int | None) -> bool:
        environment = os.environ | {"CLIPSERVE_OPERATIONS_PORT": str(port), "CLIPSERVE_HOST": host}
        return (
            subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0
        )

    port = httpx.URL(process.operations_url).port
    waited_until(lambda: healthy(port))  # Docker asks again too: a busy machine needs more than its 2 s
    assert not healthy(1)
    assert process.stop()[0] == 0
