"""A Triton server that falls silent or goes, and what becomes of the calls that it owes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest

from clipserve.clip.manifest import GPU_TEXT_BUCKETS
from clipserve.engine.triton.address import Address
from clipserve.engine.triton.client import TritonBackend
from clipserve.engine.triton.connection import Channel, TritonOptions
from clipserve.errors import DeadlineExceeded
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from tests.support.waiting import until
from tests.triton.backends import backend_on, not_ready, sent
from tests.triton.stand_in import MANIFEST, StandIn


async def test_a_silent_server_gets_no_new_calls_and_may_end_what_it_owes(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two, silent_seconds=0.5) as backend:
        one.answering.clear()
        asking = [asyncio.create_task(backend.server_of()) for _ in range(2)]
        await until(lambda: not backend.up(one.url))
        owed = len(one.calls)
        two.computing.clear()
        asking += [asyncio.create_task(backend.server_of(8)) for _ in range(3)]
        await sent(two, 2 + 3 - owed)
        assert len(one.calls) == owed, "it owes fewer rows than the other, and gets no more"
        two.computing.set()
        one.answering.set()
        assert {await each for each in asking} == {1, 2}
        await until(lambda: bool(backend.up(one.url)))
        assert {await backend.server_of(), await backend.server_of()} == {1, 2}


async def test_what_a_server_has_begun_before_it_goes_it_may_still_end(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        one.computing.clear()
        asking = [asyncio.create_task(backend.server_of()) for _ in range(2)]
        await sent(one, 1)
        one.ready, asked = False, one.asked_ready
        await until(lambda: one.asked_ready > asked + 4)
        one.computing.set()
        assert {await each for each in asking} == {1, 2}


async def test_a_busy_server_that_answers_calls_is_not_silent(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two, silent_seconds=2) as backend:  # a busy machine holds the test up for less
        one.watched.clear()
        began = time.monotonic()
        while time.monotonic() - began < 3:
            assert {await backend.server_of(), await backend.server_of()} == {1, 2}
            assert backend.up(one.url) == 1


async def test_no_call_outlives_its_deadline(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        for server in (one, two):
            server.answering.clear()
        began = time.monotonic()
        enter(RequestContext("a", began + 1.5))
        try:
            with pytest.raises(DeadlineExceeded):
                await backend.server_of()
            assert 1.4 < time.monotonic() - began < 50
        finally:
            enter(None)


async def test_a_caller_who_leaves_takes_his_call_back(one: StandIn) -> None:
    async with backend_on(one) as backend:
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of())
        await sent(one, 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: one.cancelled == 1)


class Faulty(Channel):
    """Fails once, after the server was found ready, with an error that none should have. `failed`: it has."""

    asked, failed = 0, False

    async def ask(self, method: str, model: str) -> Any:
        self.asked += 1
        if self.asked > 6 and not self.failed:
            self.failed = True
            raise ValueError("a fault")
        return await super().ask(method, model)


async def test_a_fault_of_the_watch_is_not_its_end(one: StandIn) -> None:
    channel = Faulty(grpc.aio.insecure_channel(one.url))

    class Options(TritonOptions):
        def connect(self, server: str, address: Address, credentials: Any = None) -> Channel:
            return channel

    backend = TritonBackend(MANIFEST, Options([one.url], ask_seconds=0.05), Metrics())
    await backend.start()
    await until(lambda: channel.failed)
    one.ready = False
    await until(lambda: not_ready(backend))
    await backend.aclose()


def test_texts_are_padded_to_the_lengths_that_a_repository_is_written_for() -> None:
    assert TritonBackend.text_buckets == GPU_TEXT_BUCKETS
