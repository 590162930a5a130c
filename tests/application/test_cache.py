"""One build per key, whoever leaves; entries bounded in bytes, keys included."""

from __future__ import annotations

import asyncio

import pytest

from clipserve.application.cache import BoundedCache, SharedBuilds
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, add_stage, current, enter, remaining
from tests.support.virtual_time import virtual_time


class Builder:
    def __init__(self) -> None:
        self.started = 0
        self.gate = asyncio.Event()
        self.cancelled = False

    async def __call__(self) -> str:
        self.started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "built"


async def waiters(builds: SharedBuilds[str], builder: Builder, count: int) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(builds.get("key", builder)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


@virtual_time
async def test_many_who_ask_at_once_share_one_build() -> None:
    builds, builder = SharedBuilds[str](), Builder()
    tasks = await waiters(builds, builder, 20)
    builder.gate.set()
    assert set(await asyncio.gather(*tasks)) == {"built"}
    assert builder.started == 1


@virtual_time
async def test_the_first_who_asked_may_leave_without_ending_the_build() -> None:
    builds, builder = SharedBuilds[str](), Builder()
    first, second = await waiters(builds, builder, 2)
    first.cancel()
    await asyncio.sleep(0.01)
    builder.gate.set()
    assert await second == "built"
    assert not builder.cancelled


@virtual_time
async def test_the_last_who_leaves_ends_it_and_the_next_begins_anew() -> None:
    builds, builder = SharedBuilds[str](), Builder()
    for task in await waiters(builds, builder, 3):
        task.cancel()
    await asyncio.sleep(0.01)
    assert builder.cancelled
    again = await waiters(builds, builder, 1)
    builder.gate.set()
    assert await again[0] == "built"
    assert builder.started == 2


async def test_a_failed_build_fails_its_waiters_and_is_not_remembered() -> None:
    builds = SharedBuilds[str]()

    async def failing() -> str:
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(*(builds.get("key", failing) for _ in range(3)), return_exceptions=True)
    assert [str(r) for r in results] == ["no"] * 3
    builder = Builder()
    builder.gate.set()
    assert await builds.get("key", builder) == "built"


async def test_who_asks_between_the_failure_of_a_build_and_its_waiters_begins_anew() -> None:
    builds, builder = SharedBuilds[str](), Builder()
    builder.gate.set()
    late: list[asyncio.Task[str]] = []

    async def ask_late() -> str:
        await asyncio.sleep(0)  # the build has failed; who waits for it has not been resumed
        return await builds.get("key", builder)

    async def failing() -> str:
        late.append(asyncio.create_task(ask_late()))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await builds.get("key", failing)
    assert await late[0] == "built"


@virtual_time
async def test_a_build_that_all_have_left_is_joined_by_nobody_while_it_ends() -> None:
    builds, builder, ending = SharedBuilds[str](), Builder(), asyncio.Event()
    builder.gate.set()

    async def slow_to_end() -> str:
        try:
            await asyncio.sleep(3600)
        finally:
            await ending.wait()
        return "never"

    first = asyncio.create_task(builds.get("key", slow_to_end))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait({first})
    async with asyncio.timeout(5):
        assert await builds.get("key", builder) == "built"
    ending.set()


@virtual_time
async def test_a_shared_build_works_for_all_who_wait_and_for_nobody_who_left() -> None:
    builds, gate = SharedBuilds[list[str]](), asyncio.Event()
    requests = [RequestContext(name, deadline=1.0, began=0.0) for name in ("first", "second", "third")]

    async def build() -> list[str]:
        assert remaining(7.0) == 7.0, "it has the deadline of one of them"
        await gate.wait()
        add_stage("encode_text", 1.0, 1.5)
        context = current()
        assert context is not None
        return [request.id for request in context.requests]

    async def ask(request: RequestContext) -> list[str]:
        enter(request)
        return await builds.get("key", build)

    tasks = [asyncio.create_task(ask(request)) for request in requests]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    gate.set()
    assert await tasks[1] == ["second", "third"]
    assert [request.stages for request in requests] == [{}, {"encode_text": 0.5}, {"encode_text": 0.5}]


def bounded(max_bytes: int) -> BoundedCache[str, bytes]:
    return BoundedCache("label", max_bytes, lambda key, value: len(key) + len(value), Metrics())


def test_the_least_recently_used_goes_first() -> None:
    cache = bounded(3 * (256 + 100))
    for key in "abc":
        cache.put(key, bytes(99))
    assert cache.get("a") is not None
    cache.put("d", bytes(99))
    assert [key in cache for key in "abcd"] == [True, False, True, True]


def test_what_fits_exactly_is_kept_and_one_byte_more_is_not() -> None:
    cache = bounded(256 + 100)
    cache.put("a", bytes(99))
    cache.put("b", bytes(100))
    assert ["a" in cache, "b" in cache] == [True, False]


async def test_a_value_is_built_once_and_then_kept() -> None:
    cache = bounded(1_000)
    built = []

    async def build() -> bytes:
        built.append(1)
        return b"value"

    assert await cache.get_or_build("key", build) == b"value"
    assert await cache.get_or_build("key", build) == b"value"
    assert len(built) == 1
