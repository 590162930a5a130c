"""Answers while clients take them: their bytes are counted, and their time is not the request's."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from clipserve.quota import Quota
from clipserve.rest.body import BodyLimits
from clipserve.rest.exchange import Exchange, ExchangeLimits
from clipserve.telemetry.request import describe
from tests.rest.test_exchange import Client, exchange, scope

LIMITS = ExchangeLimits(
    BodyLimits(max_body_bytes=1_000, body_timeout_seconds=20, min_body_bytes_per_second=1),
    deadline_seconds=0.5,
)


class Slow(Client):
    """Takes its answer when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.takes = asyncio.Event()
        self.offered = asyncio.Event()

    async def send(self, message: Message) -> None:
        self.offered.set()
        await self.takes.wait()
        await super().send(message)

    @property
    def answer(self) -> tuple[int, bytes]:
        start, body = self.sent
        return start["status"], body["body"]


def exchange_of(size: int, budget: Quota, rows: int = 0) -> Exchange:
    """`rows`: that the answer was computed from."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        describe(rows=rows)
        await Response(bytes(size))(scope, receive, send)

    return exchange(app, LIMITS, budget)


async def test_a_large_answer_is_counted_until_it_is_taken() -> None:
    served_by = exchange_of(70_000, Quota("bytes", 100_000))
    slow, refused, served = Slow(), Slow(), Slow()
    waiting = asyncio.create_task(served_by(scope(), slow.receive, slow.send))
    await slow.offered.wait()
    refused.takes.set()
    await served_by(scope(), refused.receive, refused.send)
    status, body = refused.answer
    assert (status, json.loads(body)["code"]) == (429, "overloaded")
    slow.takes.set()
    await waiting
    assert slow.answer == (200, bytes(70_000))
    served.takes.set()
    await served_by(scope(), served.receive, served.send)
    assert served.answer == (200, bytes(70_000))


@pytest.mark.parametrize(("size", "counted"), [(65_536, False), (65_537, True)])
async def test_a_small_answer_is_never_refused(size: int, counted: bool) -> None:
    client = Slow()
    client.takes.set()
    await exchange_of(size, Quota("bytes", 1_000))(scope(), client.receive, client.send)
    assert client.answer[0] == (429 if counted else 200)


async def test_an_answer_that_was_computed_is_never_refused_and_counts_against_the_next() -> None:
    """Its rows were charged: a refusal would have the caller pay twice."""
    budget, client, next_client = Quota("bytes", 1_000), Slow(), Slow()
    task = asyncio.create_task(exchange_of(70_000, budget, rows=2)(scope(), client.receive, client.send))
    await client.offered.wait()
    next_client.takes.set()
    await exchange_of(10, budget)(scope(), next_client.receive, next_client.send)
    assert next_client.answer[0] == 429, "there is no room for its body"
    client.takes.set()
    await task
    assert client.answer == (200, bytes(70_000))
    assert budget.used == 0


async def test_the_deadline_ends_before_the_answer_is_sent() -> None:
    client = Slow()
    task = asyncio.create_task(exchange_of(10, Quota("bytes", 1_000))(scope(), client.receive, client.send))
    await client.offered.wait()
    await asyncio.sleep(LIMITS.deadline_seconds * 2)
    client.takes.set()
    await task
    assert client.answer == (200, bytes(10))
