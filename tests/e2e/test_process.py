"""The process: how it starts, and what it refuses to start with."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from clipserve.clip.resampling import RESIZED_BY
from tests.abuse.measure import cpu_seconds
from tests.support.process import LIGHT, PATIENT, Fresh, Process, copy_of_demo, failed_start, get
from tests.support.service import form

pytestmark = pytest.mark.slow


def test_the_service_is_alive_before_it_is_ready_and_ready_soon() -> None:
    process = Fresh()
    process.wait_ready()
    assert cpu_seconds(process.popen.pid) < 40, "4 are usual, however busy the machine is"
    metrics = get(process.operations_url + "/metrics").text
    assert "clipserve_batch_rows_bucket" in metrics
    assert get(process.url + "/metrics").status_code == 404, "metrics are not for the public port"
    status, log = process.stop()
    assert status == 0
    (ready,) = (line for line in map(json.loads, log.splitlines()) if line["event"] == "ready")
    assert ready["operations_port"] == httpx.URL(process.operations_url).port
    assert ready["resized_by"] == RESIZED_BY
    assert "self_test_cosine" in log


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_ports_that_the_system_chooses_are_logged(host: str) -> None:
    process = Process(host=host, port=0, operations_port=0, grpc_enabled="false", **LIGHT)
    until = time.monotonic() + 120
    while '"event": "ready"' not in process.log():
        assert time.monotonic() < until, process.log()
        time.sleep(0.05)
    (ready,) = (line for line in map(json.loads, process.log().splitlines()) if line["event"] == "ready")
    url = httpx.URL(ready["url"])
    assert url.host == host
    for port in (url.port, ready["operations_port"]):
        assert get(url.copy_with(port=port, path="/livez")).status_code == 200
    assert process.stop()[0] == 0


def test_clients_who_leave_leave_no_memory_behind() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=92)
    body = form([file.getvalue()] * 4, {})  # megabytes, which no machine decodes in a hundredth of a second
    process = Process(backend="onnx", **PATIENT)
    process.wait_ready()
    with httpx.Client(base_url=process.url, timeout=60) as client:
        assert client.post("/embed", files=body).status_code == 200
        before = process.resident()
        left = 0
        for _ in range(100):
            try:  # a busy machine may look at the clock after the answer
                client.post("/embed", files=body, timeout=httpx.Timeout(60, read=0.01))
            except httpx.ReadTimeout:
                left += 1
        assert client.post("/embed", files=body).status_code == 200
    grown = process.resident() - before
    _, log = process.stop()
    # Of a client that is held up before it leaves, the service sees no more than that it has its answer.
    assert 50 < log.count('"outcome": "client_gone"') <= left
    assert grown < 100_000, "KiB"


def test_a_pipe_in_place_of_a_graph_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    (copy / "text.onnx").unlink()
    os.mkfifo(copy / "text.onnx")
    status, log = failed_start(models=str(copy))
    assert status == 1
    assert "text.onnx cannot be read: not a regular file" in log


def test_the_service_allows_itself_the_files_that_its_connections_need() -> None:
    process = Process("sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh", backend="onnx")
    process.wait_ready()
    url = httpx.URL(process.url)
    assert url.port
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection((url.host, url.port), 20))
        assert get(process.url + "/readyz").status_code == 200
    assert process.stop()[0] == 0
