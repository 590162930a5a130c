"""What every store promises."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from clipserve.application.label_sets.memory_store import MemoryStore
from clipserve.application.label_sets.store import Key, Store
from tests.application.label_sets.writer import COUNTER, KINDS, count, opened, started
from tests.redis_server import RedisServer

Open = Callable[[], Store]

A: Key = ("sets", "a")
B: Key = ("sets", "b")
OTHER: Key = ("builds", "a")
ODD = [
    "",
    " ",
    "a\nb",
    "a\0b",
    "a/../b",
    "\U0001f408",
    "e\u0301",
    "\u00e9",
    "\ud800",
    "'; --",
    "a" * 10_000,
    "*",
]

REDIS = pytest.param("redis", marks=pytest.mark.redis)


def place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if kind == "sqlite":
        return str(tmp_path / "state")
    redis: RedisServer = request.getfixturevalue("redis")
    return redis.url


@pytest.fixture(params=["sqlite", REDIS])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store is that another process can open."""
    return place(request.param, request, tmp_path)


@pytest.fixture(params=["memory", "sqlite", REDIS])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """Where a store is; None: in memory."""
    return None if request.param == "memory" else place(request.param, request, tmp_path)


@pytest.fixture
async def another(where: str | None) -> AsyncIterator[Open]:
    """Opens the same store again, as another gateway does; one in memory has no other."""
    stores: list[Store] = []
    memory = MemoryStore()

    def open_it() -> Store:
        stores.append(opened(where) if where else memory)
        return stores[-1]

    yield open_it
    for store in stores:
        await store.aclose()


@pytest.fixture
def store(another: Open) -> Store:
    return another()


async def test_at_first_there_is_nothing(store: Store) -> None:
    assert await store.revision() == 0
    for kind in KINDS:
        assert await store.names(kind) == []
        assert await store.rows(kind) == {}
    assert await store.get(A) is None


async def test_rows_are_kept_by_kind_and_name(store: Store) -> None:
    assert await store.change({A: b"1", B: b"", OTHER: bytes(range(256))})
    assert sorted(await store.names("sets")) == ["a", "b"]
    assert await store.rows("sets") == {"a": b"1", "b": b""}
    assert await store.rows("builds") == {"a": bytes(range(256))}
    assert await store.get(B) == b""
    assert await store.names("weights") == []


async def test_a_change_replaces_and_deletes(store: Store) -> None:
    assert await store.change({A: b"1", B: b"1", OTHER: b"1"})
    assert await store.change({A: b"2"}, [B, ("weights", "never there")])
    assert await store.rows("sets") == {"a": b"2"}
    assert await store.get(OTHER) == b"1", "of the same name, and another kind"


@pytest.mark.parametrize(
    "expected", [{A: b"2"}, {A: None}, {A: b""}, {B: b"1"}, {B: b""}, {A: b"1", B: b"1"}, {OTHER: b"1"}]
)
async def test_what_is_not_as_expected_changes_nothing(
    store: Store, expected: dict[Key, bytes | None]
) -> None:
    await store.change({A: b"1"})
    before = await store.revision()
    assert not await store.change({A: b"new", OTHER: b"new"}, [A], expected=expected)
    assert await store.rows("sets") == {"a": b"1"}
    assert await store.names("builds") == []
    assert await store.revision() == before


async def test_what_is_as_expected_is_changed(store: Store) -> None:
    assert await store.change({A: b"1"}, expected={A: None, OTHER: None})
    assert await store.change({B: b"2"}, [A], expected={A: b"1", B: None})
    assert await store.rows("sets") == {"b": b"2"}


async def test_an_empty_value_is_not_an_absent_row(store: Store) -> None:
    await store.change({A: b""})
    assert not await store.change({B: b"1"}, expected={A: None})
    assert await store.change({B: b"1"}, expected={A: b""})


async def test_before_the_first_change_rows_are_expected_as_absent(store: Store) -> None:
    assert not await store.change({B: b"1"}, expected={A: b"1"})
    assert await store.change({}, expected={A: None})
    assert await store.change({}, [A])
    assert await store.names("sets") == []
    assert await store.change({B: b"1"}, expected={A: None})


async def test_the_revision_is_another_one_after_each_change(another: Open) -> None:
    one, other = another(), another()
    seen = [await one.revision()]
    for i in range(20):
        writer, reader = (one, other) if i % 2 else (other, one)
        assert await (writer.change({}, [A]) if i % 5 == 4 else writer.change({A: b"%d" % i}))
        assert (await reader.revision()) == (await writer.revision())
        seen.append(await reader.revision())
    assert seen == sorted(set(seen)), "it grows"


async def test_a_change_is_seen_through_another_store(another: Open) -> None:
    one, other = another(), another()
    assert await other.get(A) is None
    await one.change({A: b"1", OTHER: b"1"})
    assert await other.rows("sets") == {"a": b"1"}
    await other.change({A: b"2"}, [OTHER])
    assert await one.get(A) == b"2"
    assert await one.names("builds") == []


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
async def test_a_name_may_hold_any_characters(store: Store, name: str) -> None:
    key: Key = ("definitions", name)
    others: dict[Key, bytes] = {("definitions", other): b"other" for other in (*ODD, "a") if other != name}
    assert await store.change({key: b"1", **others}, expected={key: None})
    assert await store.get(key) == b"1"
    assert (await store.rows("definitions"))[name] == b"1"
    assert sorted(await store.names("definitions")) == sorted([name, *(other for _, other in others)])
    assert await store.change({}, [key], expected={key: b"1"})
    assert len(await store.names("definitions")) == len(others)


async def test_a_value_may_have_tens_of_megabytes(another: Open) -> None:
    one, other = another(), another()
    large = bytes(range(256)) * 40_000
    changed = large[:-1] + b"x"
    key: Key = ("weights", "a")
    assert await one.change({key: large, ("weights", "b"): changed, ("weights", "c"): large})
    assert await other.rows("weights") == {"a": large, "b": changed, "c": large}
    assert not await other.change({key: b"1"}, expected={key: changed}), "the last byte counts"
    assert await other.change({key: changed}, expected={key: large})
    assert await one.get(key) == changed


async def test_of_two_that_count_neither_loses_one(another: Open) -> None:
    times = 50
    await asyncio.gather(count(another(), times), count(another(), times))
    assert await another().get(COUNTER) == b"%d" % (2 * times)


async def test_a_reader_never_sees_half_of_a_change(another: Open) -> None:
    writer, reader = another(), another()

    async def write() -> None:
        for i in range(100):
            value = b"%d" % i
            puts: dict[Key, bytes] = {("sets", name): value for name in ("a", "b", f"only-{i}")}
            await writer.change(puts, [("sets", f"only-{i - 1}")])
            await asyncio.sleep(0)

    writing = asyncio.ensure_future(write())
    reads = 0
    while not writing.done():
        found = await reader.rows("sets")
        assert len(set(found.values())) <= 1
        assert len(found) in (0, 3)
        reads += 1
        await asyncio.sleep(0)
    await writing
    assert reads > 10


async def status_of(process: subprocess.Popen[str]) -> int:
    await asyncio.to_thread(process.communicate, timeout=60)
    return process.returncode


async def test_a_change_of_another_process_is_seen(shared: str) -> None:
    store = opened(shared)
    try:
        assert await store.revision() == 0
        assert await status_of(started("count", shared, 3)) == 0
        assert await store.get(COUNTER) == b"3"
        before = await store.revision()
        assert before > 0
        assert await status_of(started("count", shared, 1)) == 0
        assert await store.get(COUNTER) == b"4"
        assert await store.revision() > before
    finally:
        await store.aclose()


async def test_of_processes_that_count_none_loses_one(shared: str) -> None:
    """They also make the store all at once."""
    times = 100
    processes = [started("count", shared, times) for _ in range(3)]
    assert [await status_of(process) for process in processes] == [0, 0, 0]
    store = opened(shared)
    assert await store.get(COUNTER) == b"%d" % (3 * times)
    await store.aclose()
