"""Calls at a time follow the servers of the backend, which come and go."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batching import DynamicBatcher
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from tests.engine.test_batching import Engine, Rows, rows
from tests.support.waiting import settled


class Servers:
    """So many are known: `count`. Their calls hang until `engine.gate` is set."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.engine = Engine()
        self.engine.gate.clear()
        self.metrics = Metrics()

    @asynccontextmanager
    async def batcher(self) -> AsyncIterator[DynamicBatcher]:
        policy = BatchPolicy(1, concurrency=2, calls_now=lambda: 2 * self.count)
        running = DynamicBatcher("image", self.engine, policy, self.metrics)
        running.start()
        async with asyncio.timeout(50):
            try:
                yield running
            finally:
                await running.aclose()

    @property
    def calls(self) -> int:
        return len(self.engine.batches)

    @property
    def told(self) -> float | None:
        return self.metrics.registry.get_sample_value("clipserve_workers", {"tower": "image"})


async def asked(running: DynamicBatcher, count: int) -> list[asyncio.Task[Rows]]:
    asking = [asyncio.create_task(running.submit(rows(i))) for i in range(count)]
    await settled()
    return asking


@pytest.mark.parametrize(("count", "calls"), [(0, 2), (1, 2), (3, 6)])
async def test_there_are_calls_for_each_server_known_at_the_start(count: int, calls: int) -> None:
    servers = Servers(count)
    async with servers.batcher():
        assert servers.told == calls
    assert servers.told == 0


async def test_a_server_that_comes_brings_calls_with_it() -> None:
    servers = Servers(1)
    async with servers.batcher() as running:
        asking = await asked(running, 4)
        assert servers.calls == 2
        servers.count = 2
        asking += await asked(running, 3)
        assert (servers.calls, servers.told) == (4, 4)
        servers.engine.gate.set()
        await asyncio.gather(*asking)
    assert (servers.calls, servers.told) == (7, 0)


async def test_a_server_that_goes_takes_its_calls_with_it_and_every_row_is_answered() -> None:
    servers = Servers(2)
    async with servers.batcher() as running:
        asking = await asked(running, 1)
        servers.count = 1
        asking += await asked(running, 8)
        assert (servers.calls, servers.told) == (2, 2)
        servers.engine.gate.set()
        await asyncio.gather(*asking)
        servers.engine.gate.clear()
        servers.count = 2
        again = await asked(running, 5)
        assert servers.calls == 9 + 4
        servers.engine.gate.set()
        await asyncio.gather(*again)


async def test_calls_that_were_added_do_not_keep_the_request_that_found_the_new_server() -> None:
    servers, request = Servers(1), RequestContext("first", None)
    async with servers.batcher() as running:
        servers.count = 2
        enter(request)
        asking = await asked(running, 1)
        enter(None)
        servers.engine.gate.set()
        await asyncio.gather(*asking)
        asking.clear()
        await asyncio.gather(*await asked(running, 4))
        kept = weakref.ref(request)
        del request
        gc.collect()
        assert kept() is None
