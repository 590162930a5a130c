"""A gateway of two real processes: one port, one page of metrics, one end."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import pytest

from clipserve.v1 import clip_pb2, clip_pb2_grpc
from loadtests.process import FakeTriton
from loadtests.prometheus import Samples, parse
from tests.process import Process, copy_of_demo
from tests.processes.conftest import two_processes
from tests.support import png

pytestmark = pytest.mark.slow


def eventually(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def pids(process: Process) -> set[int]:
    """Of the workers that run."""
    answer = httpx.get(process.operations_url + "/livez", timeout=20)
    return {each["pid"] for each in answer.json()["processes"]}


def is_alive(process: Process) -> bool:
    try:
        return httpx.get(process.operations_url + "/livez", timeout=20).status_code == 200
    except httpx.ConnectError:
        return False


def listening(process: Process) -> set[int]:
    """Which of them take connections of REST."""
    url = httpx.URL(process.url)
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    inodes = {
        fields[9] for fields in map(str.split, lines)
        if fields[3] == "0A" and int(fields[1].partition(":")[2], 16) == url.port
    }  # fmt: skip
    return {pid for pid in pids(process) if inodes & sockets_of(pid)}


def sockets_of(pid: int) -> set[str]:
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(path).removeprefix("socket:[").removesuffix("]"))
    return found


def metrics(process: Process) -> Samples:
    return parse(httpx.get(process.operations_url + "/metrics", timeout=20).text)


def asked(process: Process) -> float:
    """Requests to /embed that were counted."""
    return sum(
        value
        for (name, labels), value in metrics(process).items()
        if name == "clipserve_requests_total" and ("endpoint", "/embed") in labels
    )


def count(process: Process, name: str) -> float:
    return metrics(process)[name, frozenset()]


def ask(process: Process) -> int:
    """The status of a request on a connection of its own."""
    headers = {"content-type": "image/png"}
    return httpx.post(process.url + "/embed", content=png(), headers=headers, timeout=60).status_code


def both_listen(process: Process) -> bool:
    return len(listening(process)) == 2


def test_all_processes_share_the_ports_and_one_page_counts_for_all(gateway: Process) -> None:
    eventually(lambda: both_listen(gateway))
    before = asked(gateway)
    assert {ask(gateway) for _ in range(32)} == {200}  # all on one process: once in 2^31
    assert asked(gateway) == before + 32
    with grpc.insecure_channel(gateway.rpc_address) as channel:
        stub = clip_pb2_grpc.ClipStub(channel)
        answer = stub.Embed(clip_pb2.EmbedRequest(texts=["a cat"]), timeout=60)
    assert len(answer.results) == 1
    assert count(gateway, "clipserve_processes") == 2
    ready = httpx.get(gateway.operations_url + "/readyz", timeout=20)
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


def test_when_one_is_killed_the_other_goes_on_and_a_new_one_comes(gateway: Process) -> None:
    eventually(lambda: both_listen(gateway))
    ask(gateway)
    before, restarts = asked(gateway), count(gateway, "clipserve_process_restarts_total")
    old = pids(gateway)
    killed = min(old)
    os.kill(killed, signal.SIGKILL)
    seen = [before]
    while killed in pids(gateway) or len(seen) < 10:
        seen.append(asked(gateway))
    assert set(seen) == {before}, "no counter goes backwards meanwhile"
    assert {ask(gateway) for _ in range(20)} == {200}
    assert asked(gateway) == before + 20, "what the one that ended had counted is in the sum"
    eventually(lambda: len(pids(gateway) - {killed}) == 2 and both_listen(gateway))
    assert count(gateway, "clipserve_process_restarts_total") == restarts + 1
    said = [json.loads(line) for line in gateway.log().splitlines() if "process_ended" in line]
    assert (said[-1]["pid"], said[-1]["status"]) == (killed, -signal.SIGKILL)


def test_one_that_stands_still_is_replaced(gateway: Process) -> None:
    eventually(lambda: both_listen(gateway))
    stopped = min(pids(gateway))
    os.kill(stopped, signal.SIGSTOP)
    eventually(lambda: stopped not in pids(gateway))
    eventually(lambda: both_listen(gateway))
    assert '"event": "process_blocked"' in gateway.log()


def test_at_the_end_all_answer_what_is_in_flight_and_a_second_signal_does_not_wait(
    triton: FakeTriton,
) -> None:
    process = two_processes(triton, min_body_bytes_per_second=1, drain_delay_seconds=3000)
    process.wait_ready()
    eventually(lambda: both_listen(process))
    workers, url = pids(process), httpx.URL(process.url)
    body = b'{"texts": ["a cat"]}'
    head = f"POST /embed HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n".encode()
    head += b"content-type: application/json\r\n\r\n"
    connections = [socket.create_connection((url.host, url.port), 100) for _ in range(16)]
    for connection in connections:
        connection.sendall(head + body[:5])
    process.popen.send_signal(signal.SIGTERM)
    eventually(lambda: httpx.get(process.operations_url + "/readyz").status_code == 503)
    assert pids(process) == workers
    for connection in connections:
        connection.sendall(body[5:])
        assert b"connection: close" in connection.recv(1_000)
        connection.close()
    assert process.stop()[0] == 0
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_when_the_supervisor_is_killed_the_workers_end_themselves(triton: FakeTriton) -> None:
    process = two_processes(triton)
    process.wait_ready()
    workers = pids(process)
    process.popen.kill()
    eventually(lambda: not [pid for pid in workers if Path(f"/proc/{pid}").exists()])
    assert '"event": "supervisor_gone"' in process.log()


def test_what_no_process_can_start_with_is_said_once_and_ends_all(tmp_path: Path) -> None:
    copy = copy_of_demo(tmp_path)
    (copy / "image.onnx").write_bytes(b"damaged")
    status, log = Process(models=str(copy), backend="triton", processes=2).ended(120)
    assert status == 1
    (line,) = [line for line in log.splitlines() if "image.onnx" in line]
    assert json.loads(line)["event"] == "cannot_start"


def test_a_port_in_use_is_not_shared_with_a_stranger(triton: FakeTriton) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        process = two_processes(triton, port=other.getsockname()[1])
        status, log = process.ended(60)
    assert status == 1
    assert "address already in use" in log


def test_while_they_start_they_end_at_once() -> None:
    process = Process(backend="triton", triton_url="127.0.0.1:1", processes=2, drain_seconds=600)
    eventually(lambda: is_alive(process))
    workers = pids(process)
    assert process.stop()[0] == 0
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
