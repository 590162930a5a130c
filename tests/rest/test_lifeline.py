"""The work for a request ends when its client leaves, or at its deadline."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from clipserve.rest.exchange import Exchange
from clipserve.rest.protocol import Protocol
from clipserve.telemetry.metrics import Metrics
from tests.rest.gated import Gated
from tests.rest.raw import post
from tests.rest.test_connections import LIMITS as LINE_LIMITS
from tests.rest.test_exchange import LIMITS, Client, count, exchange, scope
from tests.rest.wire import Line, fed, protocol_of
from tests.support import eventually, serving


class Hanging:
    """Work that does not end by itself, and takes a moment to be cancelled."""

    def __init__(self) -> None:
        self.cancelled = False
        self.started = asyncio.Event()

    async def __call__(self, _: Scope, __: Receive, ___: Send) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cancelled = True


def exchange_of(work: ASGIApp, metrics: Metrics, seconds: float = 20) -> Exchange:
    return exchange(work, replace(LIMITS, deadline_seconds=seconds), metrics=metrics)


async def asked(app: ASGIApp) -> tuple[Protocol, asyncio.Task[None]]:
    """A connection on which a request has arrived, and the task that answers it."""
    protocol = protocol_of(app, LINE_LIMITS)
    await fed(protocol, post(b"", path=b"/"))
    (task,) = protocol.tasks
    return protocol, task


async def test_an_answer_that_is_written_is_not_taken_back_by_a_departure() -> None:
    metrics = Metrics()
    protocol = protocol_of(exchange_of(Response(b"answer"), metrics), LINE_LIMITS)
    line = await fed(protocol, post(b"", path=b"/"))
    protocol.connection_lost(None)
    assert line.written.endswith(b"answer")
    assert count(metrics, "other", "200") == 1


async def test_the_end_of_the_drain_is_no_departure() -> None:
    work, metrics = Hanging(), Metrics()
    protocol, task = await asked(exchange_of(work, metrics))
    async with asyncio.timeout(30):
        await work.started.wait()
        task.cancel("Task cancelled, timeout graceful shutdown exceeded")  # as uvicorn says it
        await task
    assert work.cancelled
    assert count(metrics, "other", "backend_unavailable") == 1
    line = protocol.transport
    assert isinstance(line, Line)
    assert line.written.startswith(b"HTTP/1.1 503 ")


async def test_the_deadline_cancels_the_work_before_it_is_told() -> None:
    client, work, metrics = Client(), Hanging(), Metrics()
    await exchange_of(work, metrics, 0.05)(scope(), client.receive, client.send)
    assert work.cancelled
    assert client.sent[0]["status"] == 504
    assert b"no answer within 0.05 s" in client.sent[1]["body"]
    assert count(metrics, "other", "deadline_exceeded") == 1


async def test_what_the_end_of_the_drain_cuts_off_is_told_to_come_again(toy: Path) -> None:
    backend = Gated()
    async with serving(backend, toy, drain_seconds=1) as running:
        backend.gate.clear()
        asked = asyncio.create_task(running.client.post("/embed", json={"texts": ["b"]}))
        await eventually(lambda: backend.running == 1, 60)
        running.gateway.end()
        answer = await asked
        assert (answer.status_code, answer.json()["code"]) == (503, "backend_unavailable")
        assert answer.headers["retry-after"] == "1"
