"""Probes and metrics on their own port answer whatever the event loop does, and whoever else is connected."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from clipserve.access.hosts import ANY, Hosts
from clipserve.operations import port as operations_port
from clipserve.operations.page import Page, Pulse
from clipserve.telemetry.metrics import Metrics


class Operations:
    """The port, and what the event loop says of its readiness."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.ready = True

    async def get(self, path: str, method: str = "GET") -> httpx.Response:
        return await asyncio.to_thread(self.get_in_this_thread, path, method)

    def get_in_this_thread(self, path: str, method: str = "GET") -> httpx.Response:
        return httpx.request(method, f"http://127.0.0.1:{self.address[1]}{path}", timeout=60)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, 60)

    def say(self, sent: bytes) -> bytes:
        """All that is answered until the connection is closed."""
        with self.connect() as connection:
            connection.sendall(sent)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    read = b""
    try:
        while data := connection.recv(65536):
            read += data
    except ConnectionResetError:
        pass
    return read


@asynccontextmanager
async def running(
    registry: CollectorRegistry | None = None,
    max_blocked_seconds: float = 60,
    hosts: Hosts = ANY,
    seconds: float = 60,
) -> AsyncIterator[Operations]:
    port = Operations()

    async def ready() -> bool:
        return port.ready

    metrics, pulse = Metrics(), Pulse()
    metrics.ready.set_function(lambda: pulse.ready)
    page = Page(
        pulse,
        registry or metrics.registry,
        hosts=hosts,
        max_blocked_seconds=max_blocked_seconds,
    )
    async with operations_port.serving(port.listener, page, ready, seconds):
        while not pulse.ready:
            await asyncio.sleep(0.01)
        yield port


async def test_the_port_of_operations_answers_probes_and_metrics() -> None:
    async with running() as port:
        alive, ready, metrics = [await port.get(path) for path in ("/livez", "/readyz?a=b", "/metrics")]
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert metrics.headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(metrics.text)}
    assert {"clipserve_log_lines_dropped", "process_open_fds", "process_resident_memory_bytes"} <= names


async def test_another_path_or_method_is_refused() -> None:
    async with running() as port:
        other, posted = await port.get("/classify"), await port.get("/metrics", "POST")
    assert (other.status_code, other.json()["paths"]) == (404, ["/livez", "/readyz", "/metrics"])
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")


async def test_readiness_is_what_the_event_loop_last_said() -> None:
    async with running() as port:
        for ready in (False, True):
            port.ready = ready
            async with asyncio.timeout(60):
                while ((await port.get("/readyz")).status_code == 200) != ready:
                    await asyncio.sleep(0.05)
            assert f"clipserve_ready {float(ready)}\n" in (await port.get("/metrics")).text
        assert (await port.get("/livez")).status_code == 200


async def test_a_blocked_event_loop_is_told_and_so_is_its_recovery() -> None:
    answers: dict[str, httpx.Response] = {}

    def probe(port: Operations) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and answers.keys() != {"/livez", "/readyz"}:
            for path in ("/livez", "/readyz"):
                answer = port.get_in_this_thread(path)
                if answer.status_code == 503:
                    answers.setdefault(path, answer)

    async with running(max_blocked_seconds=1) as port:
        prober = threading.Thread(target=probe, args=(port,))
        prober.start()
        while prober.is_alive():  # a busy loop, which holds Python's lock as much as it can
            pass
        told = answers["/livez"].json()
        assert told["status"] == "blocked"
        assert told["seconds"] > told["limit"] == 1
        assert answers["/readyz"].json() == {"status": "not ready"}
        async with asyncio.timeout(60):
            for path in ("/livez", "/readyz"):
                while (await port.get(path)).status_code != 200:
                    await asyncio.sleep(0.05)


async def test_a_connection_is_for_one_request() -> None:
    ask = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n"
    async with running() as port:
        assert (await asyncio.to_thread(port.say, ask * 2)).count(b"HTTP/1.1 200 ") == 1


async def test_what_is_asked_while_the_port_stands_still_for_longer_is_answered() -> None:
    seconds, held, release = 2.0, threading.Event(), threading.Event()

    def stand_still() -> float:
        held.set()
        return float(release.wait(300))

    def ask(port: Operations) -> bytes:
        with port.connect() as connection, port.connect() as scrape:
            scrape.sendall(b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")
            assert held.wait(300)
            connection.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
            time.sleep(seconds + 0.5)
            release.set()
            return read_all(connection)

    registry = CollectorRegistry()
    Gauge("still", "Read by the thread of the port.", registry=registry).set_function(stand_still)
    async with running(registry, seconds=seconds) as port:
        assert (await asyncio.to_thread(ask, port)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nhost: a\r\nx: "])
async def test_who_sends_no_whole_header_is_disconnected(sent: bytes) -> None:
    async with running(seconds=0.3) as port:
        assert await asyncio.to_thread(port.say, sent) == b""


@pytest.mark.parametrize("version", ["x", "9" * 5_000, "-1", ""])
async def test_metrics_are_told_to_who_asks_for_a_version_that_is_none(version: str) -> None:
    async with running() as port:
        accept = f"application/openmetrics-text; version={version}"
        said = f"GET /metrics HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n"
        answer = await asyncio.to_thread(port.say, said.encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"clipserve_ready" in answer


async def test_what_cannot_be_told_is_an_answer_too() -> None:
    registry = CollectorRegistry()
    Gauge("broken", "It cannot be read.", registry=registry).set_function(lambda: 1 / 0)
    async with running(registry) as port:
        assert (await port.get("/metrics")).json()["code"] == "internal_error"
        assert (await port.get("/livez")).status_code == 200


async def test_a_service_that_trusts_its_machine_is_not_asked_by_the_name_of_another() -> None:
    async with running(hosts=Hosts(())) as port:
        for path in ("/metrics", "/livez"):
            answer = await asyncio.to_thread(port.say, f"GET {path} HTTP/1.1\r\nhost: evil\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 421 ")
        assert (await port.get("/metrics")).status_code == 200


async def test_in_the_end_the_port_is_free_and_the_thread_gone() -> None:
    before = {*threading.enumerate()}  # a thread of a test before may still be ending
    async with running() as port:
        connection = port.connect()
        await port.get("/livez")
        (thread,) = [each for each in {*threading.enumerate()} - before if each.name == "operations"]
    assert read_all(connection) == b""
    connection.close()
    thread.join(60)  # the block waits for a second at most
    assert not thread.is_alive()
    socket.create_server(port.address).close()
