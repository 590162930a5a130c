"""The work for a request ends when its client leaves, or at its deadline."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clipserve.access.gate import Gate
from clipserve.application.body import Body
from clipserve.http1.cycle import ANSWERING, Cycle, scope_of
from clipserve.http1.requests import IncomingRequest
from clipserve.quota import Quota
from clipserve.rest.exchange import Exchange, ExchangeLimits
from clipserve.rest.paths import Endpoint
from clipserve.rest.request import Request
from clipserve.telemetry.metrics import Metrics
from tests.rest.raw import post
from tests.rest.test_exchange import LIMITS, Client, count, paths, scope


class Line:
    """A connection without a network."""

    gone = full = False
    keeps_alive = True

    def __init__(self) -> None:
        self.default_headers: list[tuple[bytes, bytes]] = []
        self.written = b""
        self.returned = asyncio.Event()

    def write(self, *parts: bytes) -> None:
        self.written += b"".join(parts)

    async def writable(self) -> None:
        pass

    def go_on_reading(self) -> None:
        pass

    def at_work(self) -> None:
        pass

    def answered(self) -> None:
        pass

    def ended(self, cycle: Cycle) -> None:
        assert cycle.answered == bool(self.written)
        self.returned.set()


def cycle_of(line: Line) -> Cycle:
    incoming = IncomingRequest(1_000)
    incoming.feed(post(b"", path=b"/"))
    return Cycle(line, incoming, scope_of(incoming, ("127.0.0.1", 1), ("127.0.0.1", 2)))


class Hanging:
    """Work that does not end by itself, and takes a moment to be cancelled."""

    def __init__(self) -> None:
        self.cancelled = False
        self.started = asyncio.Event()

    async def __call__(self, _: Request, __: Body) -> Response:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cancelled = True
        return Response()


def exchange_of(work: Endpoint, metrics: Metrics, seconds: float = 20) -> Exchange:
    limits = ExchangeLimits(LIMITS.body, deadline_seconds=seconds)
    return Exchange(paths(work), limits, Quota("bytes", 1_000, 1_000), metrics, Gate())


async def test_a_departure_cancels_the_work_before_it_is_counted() -> None:
    line, work, metrics = Line(), Hanging(), Metrics()
    cycle = cycle_of(line)
    cycle.start(exchange_of(work.__call__, metrics))
    async with asyncio.timeout(30):
        await work.started.wait()
    line.gone = True
    cycle.wake()
    async with asyncio.timeout(30):
        await line.returned.wait()
    assert (work.cancelled, line.written) == (True, b"")
    assert count(metrics, "/", "client_gone") == 1


@pytest.mark.parametrize("before", [True, False])
async def test_who_has_left_before_the_work_begins_is_noticed_too(before: bool) -> None:
    line = Line()
    cycle = cycle_of(line)

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        line.gone = before
        await send({"type": ANSWERING})
        line.gone = True
        cycle.wake()
        await asyncio.Event().wait()

    cycle.start(app)
    async with asyncio.timeout(30):
        await line.returned.wait()


async def test_an_answer_that_is_written_is_not_taken_back_by_a_departure() -> None:
    line, metrics = Line(), Metrics()

    async def work(_: Request, __: Body) -> Response:
        return Response(b"answer")

    cycle_of(line).start(exchange_of(work, metrics))
    async with asyncio.timeout(30):
        await line.returned.wait()
    assert line.written.endswith(b"answer")
    assert count(metrics, "/", "200") == 1


async def test_the_deadline_cancels_the_work_before_it_is_told() -> None:
    client, work, metrics = Client(), Hanging(), Metrics()
    await exchange_of(work.__call__, metrics, 0.05)(scope(), client.receive, client.send)
    assert work.cancelled
    assert client.sent[0]["status"] == 504
    assert b"no answer within 0.05 s" in client.sent[1]["body"]
    assert count(metrics, "/", "deadline_exceeded") == 1
