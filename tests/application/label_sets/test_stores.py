"""What every store promises."""

from __future__ import annotations

import asyncio
import itertools
import subprocess

import pytest

from clipserve.application.label_sets.store import Key, Store
from tests.application.label_sets.conftest import OpenStore
from tests.application.label_sets.making import rows_of
from tests.application.label_sets.writer import KINDS, count, opened, started

A: Key = ("sets", "a")
B: Key = ("sets", "b")
OTHER: Key = ("uses", "a")
NAMES = ["pets", "Pets", "pets/1a2b", "a.b-c_d", "a" * 64 + "/" + "f" * 64, "0"]


@pytest.fixture
def store(another: OpenStore) -> Store:
    return another()


async def test_at_first_there_is_nothing(store: Store) -> None:
    assert await store.revision() == 0
    for kind in KINDS:
        assert await store.names(kind) == []
        assert await store.get(kind, ["a", "b"]) == {}


async def test_rows_are_kept_by_kind_and_name(store: Store) -> None:
    await store.put({A: b"1", B: b"", OTHER: bytes(range(256))})
    assert sorted(await store.names("sets")) == ["a", "b"]
    assert await store.get("sets", ["a", "b", "c"]) == {"a": b"1", "b": b""}
    assert await store.get("sets", ["b"]) == {"b": b""}
    assert await store.get("sets", []) == {}
    assert await store.get("uses", ["a"]) == {"a": bytes(range(256))}
    assert await store.names("vectors") == []


async def test_a_put_replaces(store: Store) -> None:
    await store.put({A: b"1", OTHER: b"1"})
    await store.put({A: b"2", B: b"2"})
    assert await rows_of(store, "sets") == {"a": b"2", "b": b"2"}
    assert await rows_of(store, "uses") == {"a": b"1"}, "of the same name, and another kind"


async def test_what_is_deleted_is_gone(store: Store) -> None:
    await store.put({A: b"1", B: b""})
    await store.put({OTHER: b"1"})
    assert await store.delete([B, ("vectors", "never there"), ("sets", "nor that")])
    assert not await store.delete([B])
    assert await rows_of(store, "sets") == {"a": b"1"}
    assert await rows_of(store, "uses") == {"a": b"1"}


async def test_before_the_first_put_there_is_nothing_to_delete(store: Store) -> None:
    assert not await store.delete([A])
    assert await store.names("sets") == []
    await store.put({B: b"1"})
    assert await store.names("sets") == ["b"]


async def test_the_revision_is_another_one_after_each_change(another: OpenStore) -> None:
    one, other = another(), another()
    seen = [await one.revision()]
    for i in range(20):
        writer, reader = (one, other) if i % 2 else (other, one)
        if i % 5 == 4:
            assert await writer.delete([A])
        else:
            await writer.put({A: b"%d" % i})
        assert (await reader.revision()) == (await writer.revision())
        seen.append(await reader.revision())
    assert seen == sorted(set(seen)), "it grows"


async def test_a_change_is_seen_through_another_store(another: OpenStore) -> None:
    one, other = another(), another()
    assert await other.get("sets", ["a"]) == {}
    await one.put({A: b"1", OTHER: b"1"})
    assert await rows_of(other, "sets") == {"a": b"1"}
    await other.put({A: b"2"})
    assert await other.delete([OTHER])
    assert await one.get("sets", ["a"]) == {"a": b"2"}
    assert await one.names("uses") == []


@pytest.mark.parametrize("name", NAMES)
async def test_names_are_told_apart(store: Store, name: str) -> None:
    others = {other: b"other" for other in (*NAMES, "a") if other != name}
    await store.put({("definitions", other): value for other, value in others.items()})
    await store.put({("definitions", name): b"1"})
    assert await store.get("definitions", [name]) == {name: b"1"}
    assert await rows_of(store, "definitions") == {**others, name: b"1"}
    assert await store.delete([("definitions", name)])
    assert await rows_of(store, "definitions") == others


async def test_a_value_may_have_tens_of_megabytes(another: OpenStore) -> None:
    one, other = another(), another()
    large = bytes(range(256)) * 40_000
    changed = large[:-1] + b"x"
    await one.put({("vectors", "a"): large, ("vectors", "b"): changed, ("vectors", "c"): large})
    assert await rows_of(other, "vectors") == {"a": large, "b": changed, "c": large}
    await other.put({("vectors", "a"): changed})
    assert await one.get("vectors", ["a"]) == {"a": changed}


async def test_of_two_that_change_at_once_neither_undoes_the_other(another: OpenStore) -> None:
    times = 30
    await asyncio.gather(count(another(), times), count(another(), times))
    assert len(await another().names("uses")) == 2 * times
    assert await another().names("vectors") == []


async def test_a_reader_never_sees_half_of_a_change(another: OpenStore) -> None:
    writer, reader = another(), another()
    read: set[bytes] = set()

    async def write() -> None:
        for i in itertools.count():
            if len(read) > 10:
                return
            await writer.put({("sets", name): b"%d" % i for name in ("a", "b", "c")})
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        writing = asyncio.ensure_future(write())
        while not writing.done():
            found = await reader.get("sets", ["a", "b", "c"])
            assert len(set(found.values())) <= 1
            assert len(found) in (0, 3)
            read.update(found.values())
            await asyncio.sleep(0)
        await writing


async def status_of(process: subprocess.Popen[str]) -> int:
    await asyncio.to_thread(process.communicate, timeout=60)
    return process.returncode


async def test_of_processes_that_change_at_once_none_undoes_another_and_all_is_seen(shared: str) -> None:
    """They also make the store all at once."""
    store = opened(shared)
    try:
        assert await store.revision() == 0
        for processes, times, rows in ((3, 50, 150), (1, 1, 151)):
            before = await store.revision()
            running = [started("count", shared, times) for _ in range(processes)]
            assert [await status_of(process) for process in running] == [0] * processes
            assert len(await store.names("uses")) == rows
            assert await store.names("vectors") == []
            assert await store.revision() > before
    finally:
        await store.aclose()
