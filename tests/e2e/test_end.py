"""How the process ends: gently, with status 0, and in its time whatever holds it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.process import PATIENT, Process, get, until_admitted

pytestmark = pytest.mark.slow

# A service beside a thread that never ends.
STUCK = """
import runpy, sys, threading, time

threading.Thread(target=time.sleep, args=(3600,)).start()
sys.argv = ["clipserve"]
runpy.run_module("clipserve", run_name="__main__")
"""

# The same where no memory is left for another thread.
WITHOUT_THREADS = (
    """
import threading

def start(self):
    raise RuntimeError("can't start new thread")

threading.Timer.start = start
"""
    + STUCK
)


def test_sigterm_answers_what_is_in_flight(photos: dict[str, bytes]) -> None:
    process = Process(deadline_seconds=300, drain_seconds=250, backend="onnx")  # a busy machine needs them
    process.wait_ready()
    sent = threading.Barrier(9)
    request = httpx.Request("POST", process.url + "/embed", files=[("image", photos["cat"])] * 4)
    body = request.read()

    def ask(_: int) -> int:
        def parts() -> Iterator[bytes]:
            yield body
            sent.wait()

        headers = {name: request.headers[name] for name in ("content-type", "content-length")}
        return httpx.post(request.url, content=parts(), headers=headers, timeout=300).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(ask, range(8))
        sent.wait()
        # The bodies are in the server's sockets; it has to read them.
        until_admitted(process, "/embed", 8, 4)
        status, _ = process.stop()
        statuses = list(answers)
    assert status == 0
    assert set(statuses) <= {200, 429}, "a request in flight was dropped"
    assert 200 in statuses


class Fake(Process):
    module = "loadtests.fake_service"


def ask_until_it_ends(port: int, per_connection: int, answered: list[int], failed: list[str]) -> None:
    """One request after the other, so many on a connection."""
    headers = {"Content-Type": "application/json"}
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.connect()
        except ConnectionRefusedError:  # a load balancer asks another service
            return
        for _ in range(per_connection):
            try:
                connection.request("POST", "/embed", b'{"texts": ["a cat"]}', headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                failed.append(repr(error))
                return
            answered.append(answer.status)
            if answer.headers.get("connection") == "close":
                break
        connection.close()


@pytest.mark.parametrize("times", [2, pytest.param(20, marks=pytest.mark.nightly)])
def test_sigterm_under_load_fails_no_request_not_even_on_new_connections(times: int) -> None:
    for _ in range(times):
        process = Fake(**PATIENT)
        process.wait_ready()
        port = httpx.URL(process.url).port
        assert port
        answered = list[int]()
        failed = list[str]()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for number in range(16):
                pool.submit(ask_until_it_ends, port, 1 if number % 2 else 1_000, answered, failed)
            time.sleep(3)
            status, _ = process.stop()
        assert failed == []
        assert (status, set(answered)) == (0, {200})
        print(f"{len(answered):,} requests, none failed")


def test_ctrl_c_ends_it_quietly() -> None:
    process = Process(backend="onnx")
    process.wait_ready()
    status, log = process.stop(signal.SIGINT)
    assert status == 0
    assert "Traceback" not in log


def test_behind_a_load_balancer_it_says_first_that_it_is_not_ready_and_still_answers() -> None:
    process = Process(drain_delay_seconds=3000, backend="onnx", **PATIENT)
    process.wait_ready()
    with httpx.Client(base_url=process.url, timeout=30) as client:
        assert client.get("/livez").headers.get("connection") is None
        process.popen.send_signal(signal.SIGTERM)
        while client.get("/readyz").status_code == 200:
            time.sleep(0.02)
        for _ in range(3):  # each of these on a new connection
            answer = client.post("/embed", json={"texts": ["a cat"]})
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert client.get("/livez").status_code == 200
    status, log = process.stop()
    assert status == 0, "a second signal does not wait"
    assert '"event": "draining"' in log


def test_connections_that_say_nothing_do_not_hold_it() -> None:
    process = Process(backend="onnx")
    process.wait_ready()
    port = httpx.URL(process.url).port
    assert port
    with contextlib.ExitStack() as stack:
        for number in range(20):
            plug = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            if number % 2:
                plug.send(b"POST /embed HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.5)
        started = time.monotonic()
        assert process.stop()[0] == 0
        assert time.monotonic() - started < 30  # two seconds, in which a byte of the bodies might have come


def test_answers_that_nobody_reads_do_not_hold_it() -> None:
    process = Process(write_timeout_seconds=1, backend="onnx")
    process.wait_ready()
    script = next(part for part in get(process.url + "/docs").text.split('"') if "bundle.js" in part)
    port = httpx.URL(process.url).port
    assert port
    with socket.create_connection(("127.0.0.1", port)) as plug:
        for _ in range(12):  # the next one before the answer to the last is taken
            plug.send(f"GET /{script} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(0.1)
        assert process.stop()[0] == 0


@pytest.mark.parametrize("drain", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_thread_that_never_ends_does_not_hold_it(drain: int) -> None:
    process = Process(sys.executable, "-c", STUCK, drain_seconds=drain, backend="onnx")
    process.wait_ready()
    assert process.stop()[0] == 0


def test_the_kernel_ends_it_where_no_thread_can() -> None:
    process = Process(sys.executable, "-c", WITHOUT_THREADS, drain_seconds=0, backend="onnx")
    process.wait_ready()
    assert process.stop()[0] == -signal.SIGALRM
