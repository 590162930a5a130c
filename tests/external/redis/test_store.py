"""Label sets in Redis: what happens while it is away, and what is in it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from clipserve.application.label_sets.redis_store import PREFIX, RedisStore
from clipserve.errors import StoreUnavailable
from tests.support.logs import logged
from tests.support.redis_server import PASSWORD, RedisServer

PATIENT = 60.0  # seconds: a busy machine is no Redis that is away


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis.url, seconds=PATIENT)
    yield store
    await store.aclose()


async def values_of(store: RedisStore) -> dict[str, bytes | None]:
    return {name: await store.read(name) for name in await store.listing()}


async def assert_fails(store: RedisStore) -> None:
    """All methods, and none waits without an end."""
    calls = store.listing(), store.read("a"), store.write("a", b"2"), store.delete(["a"])
    async with asyncio.timeout(60):
        for failure in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(failure, StoreUnavailable)
            assert "CLIPSERVE_REDIS_URL runs" in failure.detail


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_redis_that_is_away_is_unavailable_in_time_and_then_it_works_again(
    redis: RedisServer, how: str
) -> None:
    # One that is killed refuses connections; for one that is stopped there is a clock.
    store = RedisStore(redis.url, seconds=PATIENT if how == "killed" else 10)
    await store.write("a", b"1")
    # Several connections, all of which will be broken.
    await asyncio.gather(*(store.read("a") for _ in range(10)))
    redis.kill() if how == "killed" else redis.popen.send_signal(signal.SIGSTOP)
    with logged() as log:
        await assert_fails(store)
    if how == "killed":
        assert log.events.count("label_set_store_failed") == len(log.events) <= 4
        redis.start()
    else:
        redis.popen.send_signal(signal.SIGCONT)
    await redis.answers()
    # The first call after a pause, and all that come with it.
    await asyncio.gather(*(store.listing() for _ in range(10)))
    await store.write("a", b"3")
    assert await values_of(store) == {"a": b"3"}
    await store.aclose()


async def test_a_redis_that_was_emptied_is_noticed(store: RedisStore, redis: RedisServer) -> None:
    await store.write("a", b"1")
    before = dict(await store.listing())
    redis.kill()  # it keeps nothing
    redis.start()
    await redis.answers()
    assert dict(await store.listing()) == {}
    await store.write("a", b"1")
    assert dict(await store.listing()) != before


async def test_all_keys_are_on_one_node_of_a_cluster(store: RedisStore, redis: RedisServer) -> None:
    await store.write("{b}", b"")
    listed = redis.ask("KEYS", "*").split()
    assert sorted(listed) == sorted(PREFIX + name for name in ("last-write", "values", "written"))
    assert len({redis.ask("CLUSTER", "KEYSLOT", key) for key in listed}) == 1
    assert PREFIX == "{clipserve:label-sets}:"


async def test_a_redis_without_memory_changes_nothing_is_read_and_deletes(
    store: RedisStore, redis: RedisServer
) -> None:
    await store.write("a", b"one")
    before = dict(await store.listing())
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    with logged() as log, pytest.raises(StoreUnavailable):
        await store.write("a", b"2" * 1_000_000)
    assert "maxmemory" in log.lines[0]["reason"]
    assert dict(await store.listing()) == before
    assert await values_of(store) == {"a": b"one"}
    assert await store.delete(["a"])
    assert dict(await store.listing()) == {}, "others see it"
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    await store.write("a", b"2")
    assert await values_of(store) == {"a": b"2"}


async def test_a_wrong_password_is_unavailable_and_not_logged(redis: RedisServer) -> None:
    store = RedisStore(redis.url.replace(PASSWORD, "another-one"), seconds=PATIENT)
    with logged() as log, pytest.raises(StoreUnavailable) as failed:
        await store.listing()
    await store.aclose()
    assert log.events == ["label_set_store_failed"]
    assert "another-one" not in log.getvalue() + failed.value.detail
