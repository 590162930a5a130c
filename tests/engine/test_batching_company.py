"""Rows that are gathered in front of Triton, on a clock that hardly moves while anything computes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batching import DynamicBatcher
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from tests.engine.test_batching import Rows, rows
from tests.virtual_time import clock

CALL_SECONDS, GATHERING = 0.003, 0.002
RATE = 2_000  # rows a second, of as many requests


class Served:
    """Requests of one row each, and what became of them. `waited`: seconds of each; `calls`: rows of each call."""

    def __init__(self, gather_seconds: float) -> None:
        self.calls: list[int] = []
        self.waited: list[float] = []
        policy = BatchPolicy(64, concurrency=4, gather_seconds=gather_seconds)
        self._batcher = DynamicBatcher("image", self._call, policy, Metrics())

    async def _call(self, values: Rows) -> Rows:
        self.calls.append(len(values))
        await asyncio.sleep(CALL_SECONDS)
        return values

    async def request(self) -> None:
        enter(RequestContext("one"))
        began = time.monotonic()
        await self._batcher.submit(rows(1))
        self.waited.append(time.monotonic() - began)

    async def one_after_the_other(self) -> None:
        for _ in range(50):
            await asyncio.create_task(self.request())

    async def at_a_rate(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(RATE):
                group.create_task(self.request())
                await asyncio.sleep(1 / RATE)

    async def run(self, load: Coroutine[Any, Any, None]) -> None:
        self._batcher.start()
        await load
        await self._batcher.aclose()


def served(gather_seconds: float, *, alone: bool) -> Served:
    made = Served(gather_seconds)
    with clock() as loop:
        loop.run_until_complete(made.run(made.one_after_the_other() if alone else made.at_a_rate()))
    return made


def test_a_client_alone_waits_for_its_calls_and_nothing_else() -> None:
    one = served(GATHERING, alone=True)
    assert one.calls == [1] * 50
    assert one.waited == pytest.approx([CALL_SECONDS] * 50, abs=1e-5)


def test_a_busy_gateway_makes_fewer_calls_and_no_request_waits_longer_for_that() -> None:
    """2,000 rows a second, calls of 3 ms, four at a time; a row waits 2 ms more at most."""
    at_once, gathered = served(0.0, alone=False), served(GATHERING, alone=False)
    assert sum(at_once.calls) == sum(gathered.calls) == RATE
    assert len(gathered.calls) < 0.55 * len(at_once.calls)
    assert max(gathered.waited) < CALL_SECONDS + GATHERING + 1e-5
