"""Answers while clients take them: their bytes are counted, and their time is not the request's."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from clipserve.quota import Quota
from clipserve.rest.body import BodyLimits
from clipserve.rest.exchange import Exchange
from tests.rest.test_exchange import Client, exchange, scope

LIMITS = BodyLimits(max_body_bytes=1_000, body_timeout_seconds=20, deadline_seconds=0.5)


class Slow(Client):
    """Takes its answer when it is told to."""

    def __init__(self, *messages: Message) -> None:
        super().__init__(*messages)
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


def exchange_of(size: int, budget: Quota) -> Exchange:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(bytes(size))(scope, receive, send)

    return exchange(app, LIMITS, budget)


@pytest.mark.parametrize(("size", "counted"), [(65_536, 0), (65_537, 65_537)])
async def test_a_large_answer_is_counted_until_it_is_taken_and_a_small_one_is_not(
    size: int, counted: int
) -> None:
    budget, slow = Quota("bytes", 1_000_000), Slow()
    waiting = asyncio.create_task(exchange_of(size, budget)(scope(), slow.receive, slow.send))
    await slow.offered.wait()
    assert budget.used - counted == len(b"body")
    slow.takes.set()
    await waiting
    assert (slow.answer, budget.used) == ((200, bytes(size)), 0)


@pytest.mark.parametrize("path", ["/embed", "/livez"])
async def test_who_does_not_take_large_answers_is_given_no_more_of_them_but_probes_are_answered(
    path: str,
) -> None:
    """The answer itself is not refused: its rows were charged, and the caller would pay twice."""
    budget, client, next_client = Quota("bytes", 1_000), Slow(), Slow({"type": "http.request"})
    task = asyncio.create_task(exchange_of(70_000, budget)(scope(), client.receive, client.send))
    await client.offered.wait()
    next_client.takes.set()
    await exchange_of(10, budget)(scope(path=path), next_client.receive, next_client.send)
    status, body = next_client.answer
    if path == "/livez":
        assert (status, body) == (200, bytes(10))
    else:
        assert (status, json.loads(body)["code"]) == (429, "overloaded")
    client.takes.set()
    await task
    assert (client.answer, budget.used) == ((200, bytes(70_000)), 0)


async def test_the_deadline_ends_before_the_answer_is_sent() -> None:
    client = Slow()
    task = asyncio.create_task(exchange_of(10, Quota("bytes", 1_000))(scope(), client.receive, client.send))
    await client.offered.wait()
    await asyncio.sleep(LIMITS.deadline_seconds * 2)
    client.takes.set()
    await task
    assert client.answer == (200, bytes(10))
