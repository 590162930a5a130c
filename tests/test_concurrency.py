"""One build per key, whoever leaves; and errors that come out bare."""

from __future__ import annotations

import asyncio

import pytest

from service.concurrency import SharedBuilds, both, together


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


async def test_many_who_ask_at_once_share_one_build() -> None:
    builds, builder = SharedBuilds[str](), Builder()
    tasks = await waiters(builds, builder, 20)
    builder.gate.set()
    assert set(await asyncio.gather(*tasks)) == {"built"}
    assert builder.started == 1


async def test_the_first_who_asked_may_leave_without_ending_the_build() -> None:
    builds, builder = SharedBuilds[str](), Builder()
    first, second = await waiters(builds, builder, 2)
    first.cancel()
    await asyncio.sleep(0.01)
    builder.gate.set()
    assert await second == "built"
    assert not builder.cancelled


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


async def test_the_first_error_ends_the_others_and_comes_out_bare() -> None:
    hanging = Builder()

    async def failing() -> str:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together([hanging(), failing()])
    assert hanging.cancelled


async def test_both_keep_their_places() -> None:
    async def later() -> int:
        await asyncio.sleep(0.01)
        return 1

    async def sooner() -> str:
        return "two"

    assert await both(later(), sooner()) == (1, "two")
