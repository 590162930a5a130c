"""The file of label sets: faults of the disk, damage, and other versions."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from clipserve.application.label_sets.sqlite_store import FILE, SqliteStore
from clipserve.application.label_sets.store import Key
from clipserve.errors import StoreUnavailable
from tests.access.support import logged
from tests.application.label_sets.making import rows_of
from tests.process import ROOT

A: Key = ("sets", "a")

# Root may write everywhere; take that away. Others cannot do it anyway.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


@pytest.mark.parametrize("fault", ["below a file", "a folder", "below what cannot be made"])
async def test_a_place_that_cannot_be_written_is_unavailable_and_nothing_else(
    folder: Path, fault: str
) -> None:
    match fault:
        case "below a file":
            folder.parent.touch()
        case "a folder":
            (folder / FILE).mkdir(parents=True)
        case _:
            folder = Path("/proc/clipserve")  # which root cannot make either
    store = SqliteStore(folder)
    with logged() as log:
        for _ in range(3):
            with pytest.raises(
                StoreUnavailable, match=r"CLIPSERVE_STATE_DIR must be a folder on a local disk"
            ):
                await store.put({A: b"1"})
    assert log.events == ["label_set_store_failed"]
    assert "clipserve/" not in log.lines[0]["hint"]
    await store.aclose()


READ_ONLY = """
import asyncio, sys
from pathlib import Path
from clipserve.application.label_sets.sqlite_store import SqliteStore
from clipserve.errors import StoreUnavailable

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    try:
        await store.put({("sets", "a"): b"2"})
    except StoreUnavailable as error:
        print(error.detail)
    print(await store.revision())
    await store.aclose()

asyncio.run(main())
"""


async def test_a_folder_that_may_not_be_written_is_unavailable_and_nothing_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    asked = await asyncio.to_thread(
        subprocess.run,
        [*UNPRIVILEGED, sys.executable, "-c", READ_ONLY, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    tmp_path.chmod(0o700)
    said, revision = asked.stdout.splitlines()[-2:]
    assert "CLIPSERVE_STATE_DIR must be a folder on a local disk" in said
    assert revision == "0", "there is no file: that is nothing stored, not a failure"
    assert not list(tmp_path.iterdir())


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
"""


async def test_a_full_disk_is_unavailable_and_what_was_there_stays(store: SqliteStore, folder: Path) -> None:
    await store.put({A: b"1"})
    script = FULL + READ_ONLY.replace('b"2"', "bytes(1_000_000)")
    asked = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    said, revision = asked.stdout.splitlines()[-2:]
    assert "with free space" in said
    assert int(revision) == await store.revision(), "it reads on"
    assert await store.get("sets", ["a"]) == {"a": b"1"}
    await store.put({A: b"2"})


DELETING = """
import asyncio, os, sys
from pathlib import Path
from clipserve.application.label_sets.sqlite_store import SqliteStore
from clipserve.errors import StoreUnavailable

async def main():
    disk = Path(sys.argv[1])
    store, kept = SqliteStore(disk / "state"), 0
    try:
        while True:
            await store.put({("vectors", f"a/{kept}"): os.urandom(100_000), ("sets", f"{kept}"): b"x"})
            kept += 1
    except StoreUnavailable:
        pass
    other = os.open(disk / "other", os.O_CREAT | os.O_WRONLY)
    try:
        while os.write(other, bytes(4_096)):
            pass
    except OSError:
        pass
    if sys.argv[2] == "anew":
        await store.aclose()
        store = SqliteStore(disk / "state")
    for i in range(kept):
        assert await store.delete([("vectors", f"a/{i}"), ("sets", f"{i}")])
    print(kept, len(await store.names("sets")))
    await store.aclose()

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["at once", "anew"])
async def test_on_a_full_disk_can_be_deleted(tmp_path: Path, when: str) -> None:
    mount = 'mount -t tmpfs -o size=2m tmpfs "$1" && exec "$2" -c "$3" "$1" "$4"'
    apart = ("unshare", "--map-root-user", "--mount", "sh", "-c")
    asked = await asyncio.to_thread(
        subprocess.run,
        [*apart, mount, "-", str(tmp_path), sys.executable, DELETING, when],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr
    kept, left = map(int, asked.stdout.splitlines()[-1].split())
    assert kept > 3
    assert left == 0


@pytest.mark.parametrize("content", [b"not a database at all" * 1_000, b"SQLite format 3\0" + bytes(5_000)])
async def test_what_is_no_database_is_unavailable_and_stays_as_it_is(
    store: SqliteStore, folder: Path, content: bytes
) -> None:
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(content)
    with logged() as log:
        for call in (store.revision(), store.names("sets"), store.get("sets", ["a"]), store.put({A: b"1"})):
            with pytest.raises(StoreUnavailable, match="is damaged or no such file: put a copy"):
                await call
    assert log.events == ["label_set_store_failed"] * 2, "one of reading, one of changing"
    assert (folder / FILE).read_bytes() == content
    (folder / FILE).unlink()
    await store.put({A: b"1"})
    assert await store.get("sets", ["a"]) == {"a": b"1"}, "it was moved away, as the message said"


async def test_damage_in_the_middle_is_unavailable(folder: Path) -> None:
    first = SqliteStore(folder)
    await first.put({("vectors", str(i)): bytes(3_000) for i in range(100)})
    await first.aclose()
    with (folder / FILE).open("r+b") as file:
        for page in range(1, 60):
            file.seek(page * 4_096)
            file.write(b"\xff" * 100)
    store = SqliteStore(folder)
    with pytest.raises(StoreUnavailable, match="is damaged"):
        await rows_of(store, "vectors")
    await store.aclose()


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (1, "by an older version of clipserve, .* move label-sets.sqlite away and put the label sets again"),
        (3, "by a newer version of clipserve, .* start that one"),
    ],
)
async def test_another_schema_is_neither_read_nor_changed(
    store: SqliteStore, folder: Path, version: int, told: str
) -> None:
    await store.put({A: b"1"})
    _set_version(folder, version)
    for call in (store.revision(), store.names("sets"), store.put({A: b"2"}), store.delete([A])):
        with pytest.raises(StoreUnavailable, match=told):
            await call
    _set_version(folder, 2)
    assert await store.get("sets", ["a"]) == {"a": b"1"}


def _set_version(folder: Path, version: int) -> None:
    with closing(sqlite3.connect(folder / FILE)) as other:
        other.execute(f"PRAGMA user_version = {version}")


async def test_an_empty_file_is_nothing_stored(store: SqliteStore, folder: Path) -> None:
    """A process that was killed between making the file and writing into it leaves one."""
    folder.mkdir(parents=True)
    (folder / FILE).touch()
    assert await store.revision() == 0
    assert await store.names("sets") == []
    assert not await store.delete([A])
    await store.put({A: b"1"})
    assert await store.get("sets", ["a"]) == {"a": b"1"}


async def test_a_file_that_was_taken_away_or_put_back_is_noticed(folder: Path, tmp_path: Path) -> None:
    store = SqliteStore(folder)
    await store.put({A: b"1"})
    await store.aclose()
    shutil.copytree(folder, tmp_path / "copy")
    store = SqliteStore(folder)
    revision = await store.revision()
    await store.put({A: b"2"})
    shutil.rmtree(folder)
    assert await store.revision() == 0
    assert await store.get("sets", ["a"]) == {}
    await store.put({A: b"3"})
    assert await store.revision() != revision
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    assert await store.get("sets", ["a"]) == {"a": b"1"}
    assert await store.revision() == revision
    await store.aclose()
