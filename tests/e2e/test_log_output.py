"""Standard error may be closed, full or unread: the service serves and ends. All that is written there is JSON."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.process import LIGHT, ROOT, Process, get, post

pytestmark = pytest.mark.slow

TO = ("sh", "-c", 'to=$1; shift; eval "exec \\"\\$@\\" $to"', "sh")


def asked(process: Process, count: int) -> set[int]:
    """The statuses of so many requests, each of which is logged."""
    with httpx.Client(base_url=process.url, timeout=60) as client:
        return {client.get("/v1/models").status_code for _ in range(count)}


@contextmanager
def unread(folder: Path) -> Iterator[Path]:
    """A full pipe of 4 KB that nobody reads."""
    path = folder / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        try:
            while True:
                os.write(writer, b"x" * size)
        except BlockingIOError:
            pass
    os.close(writer)
    yield path
    os.close(reader)


@pytest.mark.parametrize("to", ["0<&- 1>&- 2>&-", pytest.param("2>&-", marks=pytest.mark.nightly)])
def test_a_standard_error_that_is_closed_is_survived(to: str) -> None:
    process = Process(*TO, to, **LIGHT)
    process.wait_ready()
    assert asked(process, 20) == {200}
    assert process.stop()[0] == 0


def test_a_standard_error_that_nobody_reads_is_survived(tmp_path: Path) -> None:
    with unread(tmp_path) as pipe:
        process = Process(*TO, f"2>{pipe}", **LIGHT)
        process.wait_ready()
        assert asked(process, 100) == {200}
        assert process.stop()[0] == 0


@pytest.mark.parametrize("to", ["2>&-", "2>/dev/full"])
def test_what_cannot_start_ends_with_its_status_where_it_cannot_be_told(to: str) -> None:
    assert Process(*TO, to, models="/nowhere").ended()[0] == 1


def test_what_cannot_start_ends_with_its_status_where_nobody_reads_what_it_tells(tmp_path: Path) -> None:
    with unread(tmp_path) as pipe:
        assert Process(*TO, f"2>{pipe}", models="/nowhere").ended()[0] == 1


def test_a_standard_error_that_is_full_is_survived_and_the_lines_that_were_dropped_are_counted() -> None:
    process = Process(*TO, "2>/dev/full", **LIGHT)
    process.wait_ready()
    assert asked(process, 20) == {200}
    dropped = 0.0
    while dropped < 20:
        time.sleep(0.02)
        metrics = get(process.operations_url + "/metrics").text
        name = "clipserve_log_lines_dropped_total "
        dropped = float(next(line for line in metrics.splitlines() if line.startswith(name))[len(name) :])
    assert process.stop()[0] == 0


def test_all_lines_are_json_whatever_is_sent() -> None:
    process = Process(host="0.0.0.0", **LIGHT)
    process.wait_ready()
    port = httpx.URL(process.url).port
    for sent in (
        b'\x16\x03\x01\0\n{"event": "forged"}\n\r\n\r\n',
        b'GET /\n{"event": "forged"} HTTP/1.1\r\n\r\n',
        b"GET / HTTP/1.1\r\nx-request-id: \n{}\n\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.sendall(sent)
            connection.recv(1000)
    kind = {"content-type": "multipart/form-data; boundary=a"}
    forms = (
        b"--a\nforged\n--b",
        b'--a\r\nContent-Disposition: form-data; name="\n{}\n"\r\n\r\n\n{}\n\r\n--a--',
    )
    for form in forms:
        assert post(process.url + "/classify", content=form, headers=kind).status_code >= 400
    status, log = process.stop()
    assert status == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert all(line["event"] != "forged" and line["level"] and line["timestamp"] for line in lines)
    events = [line["event"] for line in lines]
    assert {"ready", "request"} <= set(events)
    assert events.count("open_to_all") == 1
    assert [line["outcome"] for line in lines if line["event"] == "request"].count("malformed_request") == 3


def test_what_grpc_says_of_a_server_that_is_none_is_in_our_lines_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # it may have gone meanwhile
                    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        url = f"127.0.0.1:{listener.getsockname()[1]}"
        process = Process(backend="triton", triton_tls="true", triton_url=url)
        while '"state": "gone"' not in process.log():
            assert process.popen.poll() is None, process.log()
            time.sleep(0.02)
        status, log = process.stop()
        listener.shutdown(socket.SHUT_RDWR)
    assert status == 0
    for line in log.splitlines():
        json.loads(line)


LIBRARIES = """
import asyncio, logging, threading, warnings
from clipserve.telemetry import log

log.start()
logging.getLogger("a.library").warning("two\\nlines of %s", "text")
logging.getLogger("a.library").info("left out")
logging.getLogger("a.library").log(35, "a level of its own")
logging.getLogger("a.library").error("%d", "no number")
warnings.warn("an old way")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("a.library").exception("divided")

def fail():
    raise RuntimeError("in a thread")

thread = threading.Thread(target=fail, name="its own")
thread.start()
thread.join()

class Bad:
    def __del__(self):
        raise RuntimeError("in a finalizer")

Bad()

async def never_retrieved():
    loop = asyncio.get_running_loop()
    loop.call_soon(fail)
    await asyncio.sleep(0)

asyncio.run(never_retrieved())
raise RuntimeError("at the end")
"""


def lines_of_libraries() -> list[dict[str, Any]]:
    command = [sys.executable, "-c", LIBRARIES]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_what_libraries_log_and_what_nobody_catches_are_lines_like_ours() -> None:
    told = []
    for line in lines_of_libraries():
        assert line["timestamp"]
        event = line["event"].partition("\nhandle")[0]
        told.append((line["level"], line.get("logger"), event, line.get("exception", "").rpartition("\n")[2]))
    assert told == [
        ("warning", "a.library", "two\nlines of text", ""),
        ("warning", "a.library", "a level of its own", ""),
        ("error", "a.library", "%d", ""),
        ("warning", "py.warnings", "<string>:10: UserWarning: an old way\n", ""),
        ("error", "a.library", "divided", "ZeroDivisionError: division by zero"),
        ("error", None, "thread_failed", "RuntimeError: in a thread"),
        ("error", None, "unraisable", "RuntimeError: in a finalizer"),
        ("error", "asyncio", "Exception in callback fail() at <string>:16", "RuntimeError: in a thread"),
        ("critical", None, "unexpected_end", "RuntimeError: at the end"),
    ]
