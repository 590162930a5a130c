"""Label sets in a file: when it is made, who waits for whom, and what a killed process leaves."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from clipserve.application.label_sets.sqlite_store import FILE, SqliteStore
from clipserve.application.label_sets.store import Key
from clipserve.errors import StoreUnavailable
from tests.access.support import logged
from tests.application.label_sets.making import rows_of
from tests.application.label_sets.writer import KINDS, generation_of, started

A: Key = ("sets", "a")


async def test_nothing_is_made_before_the_first_put(store: SqliteStore, folder: Path) -> None:
    assert await store.revision() == 0
    assert await store.get("sets", ["a"]) == {}
    assert not await store.delete([A])
    assert not folder.parent.exists()
    await store.put({A: b"1"})
    assert (folder / FILE).exists()


async def test_only_its_user_may_read_it(store: SqliteStore, folder: Path) -> None:
    umask = os.umask(0)
    try:
        await store.put({A: b"1"})
    finally:
        os.umask(umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    reserve = FILE.replace(".sqlite", ".reserve")
    assert modes == dict.fromkeys((FILE, f"{FILE}-wal", f"{FILE}-shm", reserve), 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_the_event_loop_does_not_wait_for_a_locked_store(store: SqliteStore, folder: Path) -> None:
    await store.put({A: b"1"})
    other = sqlite3.connect(folder / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.ensure_future(store.put({A: b"2"}))
    for _ in range(10):
        await asyncio.sleep(0.01)
    assert not waiting.done(), "it gives up after 2 s: a loop that waited finds that it is done"
    other.execute("ROLLBACK")
    await waiting
    assert await store.get("sets", ["a"]) == {"a": b"2"}
    other.close()


async def test_a_process_that_locks_the_store_for_long_is_not_waited_for_longer(
    store: SqliteStore, folder: Path
) -> None:
    await store.put({A: b"1"})
    other = sqlite3.connect(folder / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"for 2 s: ask again\.$"):
        await store.put({A: b"2"})
    assert time.monotonic() - begun < 20
    assert await store.get("sets", ["a"]) == {"a": b"1"}, "readers do not wait for a writer"
    other.execute("ROLLBACK")
    other.close()
    await store.put({A: b"2"})


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE"])
async def test_the_first_change_waits_for_one_that_has_begun_with_the_empty_file(
    store: SqliteStore, folder: Path, begin: str
) -> None:
    folder.mkdir(parents=True)
    (folder / FILE).touch()
    other = sqlite3.connect(folder / FILE, isolation_level=None)
    other.execute(begin)
    other.execute("SELECT * FROM sqlite_master").fetchall()
    changing = asyncio.ensure_future(store.put({A: b"1"}))
    await asyncio.sleep(0.1)
    assert not changing.done()
    other.execute("COMMIT")
    await changing
    assert await store.get("sets", ["a"]) == {"a": b"1"}
    other.close()


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.nightly)])
async def test_a_killed_process_leaves_whole_changes_and_all_that_it_was_told_of(
    folder: Path, kills: int
) -> None:
    generation = 0
    for _ in range(kills):
        process = started("generations", str(folder), generation + 1)
        assert process.stdout
        told = int(await asyncio.to_thread(process.stdout.readline))
        await asyncio.sleep(random.uniform(0, 0.05))
        process.kill()
        rest, _ = await asyncio.to_thread(process.communicate)
        told = max([told, *map(int, rest.split())])
        store = SqliteStore(folder)
        found = [
            (name, generation_of(value))
            for kind in KINDS
            for name, value in (await rows_of(store, kind)).items()
        ]
        await store.aclose()
        (generation,) = {generation for _, generation in found}
        assert sorted(name for name, _ in found) == sorted(["a", "b"] * len(KINDS))
        assert told <= generation <= told + 1


async def test_a_store_that_is_closed_ends_what_has_begun_and_refuses_the_rest(folder: Path) -> None:
    store = SqliteStore(folder)
    changing = asyncio.ensure_future(store.put({A: b"1" * 1_000_000}))
    await asyncio.sleep(0)
    await asyncio.gather(store.aclose(), store.aclose())
    await changing
    for call in (store.revision(), store.put({A: b"2"})):
        with pytest.raises(StoreUnavailable, match="is ending"):
            await call
    await store.aclose()
    assert not (folder / f"{FILE}-wal").exists(), "SQLite has closed the file"


async def test_a_store_that_fails_is_logged_once_until_it_works_again(
    store: SqliteStore, folder: Path
) -> None:
    folder.parent.touch()
    with logged() as log:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.revision()
        folder.parent.unlink()
        assert await store.revision() == 0
        folder.parent.touch()
        with pytest.raises(StoreUnavailable):
            await store.revision()
    assert log.events == ["label_set_store_failed", "label_set_store_back", "label_set_store_failed"]
    assert "NotADirectoryError" in log.lines[0]["error"]
