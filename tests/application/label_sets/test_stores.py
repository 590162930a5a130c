"""What every store promises."""

from __future__ import annotations

import asyncio
import itertools
import subprocess

import pytest

from clipserve.application.label_sets.store import Store
from tests.application.label_sets.conftest import OpenStore
from tests.application.label_sets.making import rows_of
from tests.application.label_sets.writer import KINDS, count, opened, started

NAMES = ["pets", "Pets", "pets.1a2b", "a.b-c_d", "a" * 64 + "." + "f" * 64, "0"]


@pytest.fixture
def store(another: OpenStore) -> Store:
    return another()


async def test_at_first_there_is_nothing(store: Store) -> None:
    assert await store.revision() == await store.revision()
    for kind in KINDS:
        assert await store.heads(kind) == {}
        assert await store.bodies(kind, ["a", "b"]) == {}
        assert not await store.delete(kind, ["a"])


async def test_rows_are_kept_by_kind_and_name(store: Store) -> None:
    every_byte = bytes(range(256))
    await store.put("sets", "a", b"1", every_byte)
    await store.put("sets", "b", b"")
    await store.put("vectors", "a", b'{"a": "\xc3\xa4"}', b"\n\n")
    assert await store.heads("sets") == {"a": b"1", "b": b""}
    assert await store.bodies("sets", ["a", "b", "c"]) == {"a": every_byte, "b": b""}
    assert await store.bodies("sets", []) == {}
    assert await rows_of(store, "vectors") == {"a": (b'{"a": "\xc3\xa4"}', b"\n\n")}


async def test_a_put_replaces_the_whole_row(store: Store) -> None:
    await store.put("sets", "a", b"1", b"one")
    await store.put("vectors", "a", b"1", b"one")
    await store.put("sets", "a", b"2")
    assert await rows_of(store, "sets") == {"a": (b"2", b"")}
    assert await rows_of(store, "vectors") == {"a": (b"1", b"one")}, "of the same name, and another kind"


async def test_what_is_deleted_is_gone(store: Store) -> None:
    for name in ("a", "b", "c"):
        await store.put("sets", name, b"1", b"one")
    await store.put("vectors", "b", b"1")
    assert await store.delete("sets", ["b", "c", "never there"])
    assert not await store.delete("sets", ["b"])
    assert await rows_of(store, "sets") == {"a": (b"1", b"one")}
    assert await rows_of(store, "vectors") == {"b": (b"1", b"")}


async def test_the_revision_is_another_one_after_each_change(another: OpenStore) -> None:
    one, other = another(), another()
    seen = [await one.revision()]
    for i in range(20):
        writer, reader = (one, other) if i % 2 else (other, one)
        if i % 5 == 4:
            assert await writer.delete("sets", ["a"])
        else:
            await writer.put("sets", "a", b"%d" % i)
        seen.append(await reader.revision())
    assert len({*seen}) == len(seen)


async def test_the_revision_stays_while_nothing_changes(store: Store) -> None:
    await store.put("sets", "a", b"1")
    async with asyncio.timeout(60):
        while await store.revision() != await store.revision():  # for a moment after a change
            await asyncio.sleep(0.05)


async def test_a_change_is_seen_through_another_store(another: OpenStore) -> None:
    one, other = another(), another()
    assert await other.heads("sets") == {}
    await one.put("sets", "a", b"1")
    assert await rows_of(other, "sets") == {"a": (b"1", b"")}
    await other.put("sets", "a", b"2")
    assert await one.heads("sets") == {"a": b"2"}
    assert await other.delete("sets", ["a"])
    assert await one.heads("sets") == {}


@pytest.mark.parametrize("name", NAMES)
async def test_names_are_told_apart(store: Store, name: str) -> None:
    others = {other: (b"", b"other") for other in (*NAMES, "a") if other != name}
    for other, row in others.items():
        await store.put("sets", other, *row)
    await store.put("sets", name, b"1", b"one")
    assert await store.bodies("sets", [name]) == {name: b"one"}
    assert await rows_of(store, "sets") == {**others, name: (b"1", b"one")}
    assert await store.delete("sets", [name])
    assert await rows_of(store, "sets") == others


async def test_a_body_may_have_tens_of_megabytes(another: OpenStore) -> None:
    one, other = another(), another()
    large = bytes(range(256)) * 40_000
    changed = large[:-1] + b"x"
    for name, body in {"a": large, "b": changed, "c": large}.items():
        await one.put("vectors", name, b"", body)
    assert await other.bodies("vectors", ["a", "b", "c"]) == {"a": large, "b": changed, "c": large}
    await other.put("vectors", "a", b"", changed)
    assert await one.bodies("vectors", ["a"]) == {"a": changed}


async def test_of_two_that_change_at_once_neither_undoes_the_other(another: OpenStore) -> None:
    times = 30
    await asyncio.gather(count(another(), times), count(another(), times))
    assert len(await another().heads("sets")) == 2 * times
    assert await another().heads("vectors") == {}


async def test_a_reader_never_sees_half_of_a_row(another: OpenStore) -> None:
    writer, reader = another(), another()
    read: set[bytes] = set()

    async def write() -> None:
        for i in itertools.count():
            if len(read) > 10:
                return
            await writer.put("sets", "a", b"%d" % i, b"%d " % i * 10_000)
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        writing = asyncio.ensure_future(write())
        while not writing.done():
            (numbers,) = [{*body.split()} for body in (await reader.bodies("sets", ["a"])).values()] or [
                {b""}
            ]
            assert len(numbers) == 1
            read |= numbers
            await asyncio.sleep(0)
        await writing


async def status_of(process: subprocess.Popen[str]) -> int:
    await asyncio.to_thread(process.communicate, timeout=300)
    return process.returncode


async def test_of_processes_that_change_at_once_none_undoes_another_and_all_is_seen(shared: str) -> None:
    """They also make the store all at once."""
    store = opened(shared)
    try:
        for processes, times, rows in ((3, 50, 150), (1, 1, 151)):
            before = await store.revision()
            running = [started("count", shared, times) for _ in range(processes)]
            assert [await status_of(process) for process in running] == [0] * processes
            assert len(await store.heads("sets")) == rows
            assert await store.heads("vectors") == {}
            assert await store.revision() != before
    finally:
        await store.aclose()
