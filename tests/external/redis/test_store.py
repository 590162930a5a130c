"""Label sets in Redis: what happens while it is away, and what is in it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator

import pytest

from clipserve.application.label_sets.redis_store import PREFIX, RedisStore
from clipserve.errors import StoreUnavailable
from tests.application.label_sets.making import rows_of
from tests.logs import logged
from tests.redis_server import PASSWORD, RedisServer

PATIENT = {"seconds": 60.0, "value_seconds": 60.0}  # a busy machine is no Redis that is away


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(redis.url, **PATIENT)
    yield store
    await store.aclose()


async def assert_fails(store: RedisStore) -> None:
    """All methods, and none waits without an end."""
    calls = (
        store.revision(),
        store.heads("sets"),
        store.bodies("sets", ["a"]),
        store.put("sets", "a", b"2"),
        store.delete("sets", ["a"]),
    )
    async with asyncio.timeout(60):
        for failure in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(failure, StoreUnavailable)
            assert "CLIPSERVE_REDIS_URL runs" in failure.detail


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_redis_that_is_away_is_unavailable_in_time_and_then_it_works_again(
    redis: RedisServer, how: str
) -> None:
    # One that is killed refuses connections; for one that is stopped there is a clock.
    patience = PATIENT if how == "killed" else {"seconds": 10.0, "value_seconds": 10.0}
    store = RedisStore(redis.url, **patience)
    await store.put("sets", "a", b"1")
    # Several connections, all of which will be broken.
    await asyncio.gather(*(store.heads("sets") for _ in range(10)))
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
    await asyncio.gather(*(store.revision() for _ in range(10)))
    await store.put("sets", "a", b"3")
    assert await store.heads("sets") == {"a": b"3"}
    await store.aclose()


async def test_a_call_that_was_cut_off_does_not_get_into_the_next_ones_way(
    store: RedisStore, redis: RedisServer
) -> None:
    await store.put("sets", "a", b"", b"1" * 1_000_000)
    await store.put("sets", "b", b"", b"2")
    for i in range(50):
        cut = [
            asyncio.ensure_future(store.bodies("sets", ["a"])),
            asyncio.ensure_future(store.put("sets", "a", b"", b"1" * 1_000_000)),
        ]
        await asyncio.sleep(i * 0.0001)
        for each in cut:
            each.cancel()
        assert await store.bodies("sets", ["b"]) == {"b": b"2"}
        await asyncio.gather(*cut, return_exceptions=True)


async def test_a_redis_that_was_emptied_does_not_show_an_old_revision_again(
    store: RedisStore, redis: RedisServer
) -> None:
    await store.put("sets", "a", b"1")
    before = await store.revision()
    redis.kill()  # it keeps nothing
    redis.start()
    await redis.answers()
    empty = await store.revision()
    await store.put("sets", "a", b"1")
    assert len({before, empty, await store.revision()}) == 3


async def test_all_keys_are_on_one_node_of_a_cluster(store: RedisStore, redis: RedisServer) -> None:
    await store.put("sets", "a", b"")
    await store.put("vectors", "{b}", b"")
    listed = redis.ask("KEYS", "*").split()
    hashes = [f"{kind}:{part}" for kind in ("sets", "vectors") for part in ("heads", "bodies")]
    assert sorted(listed) == sorted(PREFIX + name for name in ("last-put", *hashes))
    assert len({redis.ask("CLUSTER", "KEYSLOT", key) for key in listed}) == 1
    assert PREFIX == "{clipserve:label-sets}:"


async def test_a_redis_without_memory_changes_nothing(store: RedisStore, redis: RedisServer) -> None:
    await store.put("sets", "a", b"1", b"one")
    before = await store.revision()
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    with logged() as log, pytest.raises(StoreUnavailable):
        await store.put("sets", "a", b"2", b"2" * 1_000_000)
    assert "maxmemory" in log.lines[0]["reason"]
    assert await store.revision() == before, "it is read from as ever"
    assert await rows_of(store, "sets") == {"a": (b"1", b"one")}
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    await store.put("sets", "a", b"2")
    assert await rows_of(store, "sets") == {"a": (b"2", b"")}


async def test_a_redis_without_memory_deletes(store: RedisStore, redis: RedisServer) -> None:
    await store.put("sets", "a", b"1", b"one")
    before = await store.revision()
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    assert await store.delete("sets", ["a"])
    assert await store.revision() != before, "others see it"
    assert await rows_of(store, "sets") == {}


async def test_a_wrong_password_is_unavailable_and_not_logged(redis: RedisServer) -> None:
    store = RedisStore(redis.url.replace(PASSWORD, "another-one"), **PATIENT)
    with logged() as log, pytest.raises(StoreUnavailable) as failed:
        await store.revision()
    await store.aclose()
    assert log.events == ["label_set_store_failed"]
    assert "another-one" not in log.getvalue() + failed.value.detail
