"""A request runs until one of three things happens: an answer, the deadline, the departure of its client."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from clipserve.errors import DeadlineExceeded
from clipserve.rest.disconnects import ClientGone, run_until_answered


class Client:
    """Stays until `leaves` is set; first comes what the server still has for it."""

    def __init__(self, *first: Message) -> None:
        self.leaves = asyncio.Event()
        self._first = list(first)
        self.listened = 0  # calls of `receive` that are waiting now

    async def receive(self) -> Message:
        if self._first:
            return self._first.pop(0)
        self.listened += 1
        try:
            await self.leaves.wait()
        finally:
            self.listened -= 1
        return {"type": "http.disconnect"}


class Hanging:
    """Work that does not end by itself, and takes a moment to be cancelled."""

    def __init__(self) -> None:
        self.cancelled = False
        self.started = asyncio.Event()

    async def __call__(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.cancelled = True


async def settle() -> None:
    """Let every task run until it waits for something outside."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_work_that_has_ended_is_the_end_and_nobody_listens_any_more() -> None:
    client = Client()

    async def work() -> None:
        await asyncio.sleep(0)

    await run_until_answered(work(), client.receive, 20)
    await asyncio.sleep(0)
    assert client.listened == 0


async def test_what_work_raises_is_raised() -> None:
    client = Client()

    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await run_until_answered(work(), client.receive, 20)
    await asyncio.sleep(0)
    assert client.listened == 0


async def test_the_departure_of_the_client_cancels_the_work_before_it_is_told() -> None:
    client, work = Client({"type": "http.request", "body": b"", "more_body": False}), Hanging()
    running = asyncio.create_task(run_until_answered(work(), client.receive, 20))
    await work.started.wait()
    client.leaves.set()
    with pytest.raises(ClientGone):
        await running
    assert work.cancelled


async def test_a_message_that_is_no_departure_ends_nothing() -> None:
    client, work = Client({"type": "http.request"}, {"type": "http.request"}), Hanging()
    running = asyncio.create_task(run_until_answered(work(), client.receive, 20))
    await work.started.wait()
    await settle()
    assert not running.done()
    client.leaves.set()
    with pytest.raises(ClientGone):
        await running


async def test_the_deadline_cancels_the_work_before_it_is_told() -> None:
    client, work = Client(), Hanging()
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.05 s") as caught:
        await run_until_answered(work(), client.receive, 0.05)
    assert caught.value.limit == 0.05
    assert work.cancelled
    await asyncio.sleep(0)
    assert client.listened == 0


async def test_an_answer_and_a_departure_at_once_are_an_answer() -> None:
    client = Client()
    client.leaves.set()

    async def work() -> None:
        raise KeyError("the answer")

    with pytest.raises(KeyError):
        await run_until_answered(work(), client.receive, 20)


async def test_who_is_cancelled_cancels_the_work() -> None:
    client, work = Client(), Hanging()
    running = asyncio.create_task(run_until_answered(work(), client.receive, 20))
    await work.started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.cancelled
