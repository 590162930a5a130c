"""Label sets in files: faults of the disk, and processes that are killed."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.application.label_sets.file_store import FOLDER, FileStore
from clipserve.errors import StoreUnavailable
from tests.application.label_sets.making import rows_of
from tests.application.label_sets.writer import KINDS, generation_of, started
from tests.logs import logged
from tests.process import ROOT, UNPRIVILEGED


async def ran(script: str, *arguments: str, before: tuple[str, ...] = ()) -> list[str]:
    """The lines that a process prints."""
    asked = await asyncio.to_thread(
        subprocess.run,
        [*before, sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stderr
    return asked.stdout.splitlines()


async def test_nothing_is_made_before_the_first_put(store: FileStore, folder: Path) -> None:
    assert (await store.revision(), await store.heads("sets")) == ("", {})
    assert not await store.delete("sets", ["a"])
    assert not folder.exists()


async def test_only_its_user_may_read_it(store: FileStore, folder: Path) -> None:
    await store.put("sets", "a", b"1")
    for made in (folder, folder / FOLDER, folder / FOLDER / "sets"):
        assert made.stat().st_mode & 0o777 == 0o700
    assert (folder / FOLDER / "sets" / "a").stat().st_mode & 0o777 == 0o600


async def test_what_is_no_file_is_passed_over_and_named_once(store: FileStore, folder: Path) -> None:
    await store.put("sets", "pets", b"{}")
    sets = folder / "label-sets" / "sets"
    (sets / "folder").mkdir()
    os.mkfifo(sets / "pipe")
    with logged() as log:
        for _ in range(2):
            assert await asyncio.wait_for(store.heads("sets"), 60) == {"pets": b"{}"}
    named = [Path(str(line["path"])).name for line in log.lines if line["event"] == "label_set_store_skips"]
    assert sorted(named) == ["folder", "pipe"]


@pytest.mark.parametrize("fault", ["below a file", "a file", "below what cannot be made"])
async def test_a_place_that_cannot_be_written_is_unavailable_and_nothing_else(
    folder: Path, fault: str
) -> None:
    match fault:
        case "below a file":
            folder.parent.touch()
        case "a file":
            folder.mkdir(parents=True)
            (folder / FOLDER).touch()
        case _:
            folder = Path("/proc/clipserve")  # which root cannot make either
    store = FileStore(folder)
    with logged() as log:
        for _ in range(3):
            with pytest.raises(
                StoreUnavailable, match="CLIPSERVE_STATE_DIR must be a folder on a local disk"
            ):
                await store.put("sets", "a", b"1")
    assert log.events == ["label_set_store_failed"]
    assert "clipserve/" not in log.lines[0]["hint"]


PUTTING = """
import asyncio, sys
from pathlib import Path
from clipserve.application.label_sets.file_store import FileStore
from clipserve.errors import StoreUnavailable

async def main():
    store = FileStore(Path(sys.argv[1]))
    try:
        await store.put("sets", "a", b"2", bytes(1_000_000))
    except StoreUnavailable as error:
        print(error.detail)
    print(*await store.heads("sets"))

asyncio.run(main())
"""


async def test_a_folder_that_may_not_be_written_is_unavailable_and_nothing_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    detail, names = await ran(PUTTING, str(tmp_path), before=UNPRIVILEGED)
    tmp_path.chmod(0o700)
    assert "CLIPSERVE_STATE_DIR must be a folder on a local disk" in detail
    assert names == "", "there is no folder: that is nothing stored, not a failure"
    assert not list(tmp_path.iterdir())


READING = """
import asyncio, sys
from pathlib import Path
from clipserve.application.label_sets.file_store import FileStore

print(*asyncio.run(FileStore(Path(sys.argv[1])).heads("sets")))
"""


async def test_what_a_killed_process_left_can_be_read_past_where_nothing_may_be_written(
    store: FileStore, folder: Path
) -> None:
    await store.put("sets", "a", b"1")
    sets = folder / FOLDER / "sets"
    (sets / ".left").touch()
    os.utime(sets / ".left", (0, 0))
    sets.chmod(0o500)
    names = await ran(READING, str(folder), before=UNPRIVILEGED)
    sets.chmod(0o700)
    assert names == ["a"]


async def test_a_put_that_does_not_fit_is_unavailable_and_leaves_what_was_there(
    store: FileStore, folder: Path
) -> None:
    await store.put("sets", "a", b"1")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n" + PUTTING
    detail, names = await ran(limited, str(folder))
    assert "with free space" in detail
    assert names == "a", "it reads on"
    assert await rows_of(store, "sets") == {"a": (b"1", b"")}
    assert [path.name for path in (folder / FOLDER / "sets").iterdir()] == ["a"]


DELETING = """
import asyncio, os, sys
from pathlib import Path
from clipserve.application.label_sets.file_store import FileStore
from clipserve.errors import StoreUnavailable

async def main():
    disk = Path(sys.argv[1])
    store, kept = FileStore(disk / "state"), 0
    try:
        while True:
            await store.put("sets", f"{kept}", b"", os.urandom(100_000))
            kept += 1
    except StoreUnavailable:
        pass
    other = os.open(disk / "other", os.O_CREAT | os.O_WRONLY)
    try:
        while os.write(other, bytes(4_096)):
            pass
    except OSError:
        pass
    assert kept > 3
    for i in range(kept):
        assert await store.delete("sets", [f"{i}"])
    print(len(await store.heads("sets")))

asyncio.run(main())
"""


async def test_on_a_full_disk_can_be_deleted(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=2m tmpfs "$1" && shift && exec "$@"'
    apart = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "-", str(tmp_path))
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs a privilege that this process does not have")
    assert await ran(DELETING, str(tmp_path), before=apart) == ["0"]


async def test_a_folder_that_was_taken_away_or_put_back_is_noticed(
    store: FileStore, folder: Path, tmp_path: Path
) -> None:
    await store.put("sets", "a", b"1")
    seen = [await store.revision()]
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    assert await store.heads("sets") == {}
    seen.append(await store.revision())
    shutil.copytree(tmp_path / "copy", folder)
    assert await store.heads("sets") == {"a": b"1"}
    seen.append(await store.revision())
    assert len({*seen}) == 3


async def test_what_a_killed_process_had_begun_to_write_is_no_row_and_goes_in_time(
    store: FileStore, folder: Path
) -> None:
    await store.put("sets", "a", b"1")
    for name, age in {".recent": 60, ".abandoned": 7_200}.items():
        path = folder / FOLDER / "sets" / name
        path.touch()
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert await store.heads("sets") == {"a": b"1"}
    assert sorted(path.name for path in (folder / FOLDER / "sets").iterdir()) == [".recent", "a"]


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.nightly)])
async def test_a_killed_process_leaves_whole_rows_and_all_that_it_was_told_of(
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
        store = FileStore(folder)
        for kind in KINDS:
            ((head, body),) = (await rows_of(store, kind)).values()
            assert (int(head), len(body)) == (generation_of(body), 50_020)
            assert told <= int(head) <= told + 1
            generation = max(generation, int(head))


async def test_a_store_that_fails_is_logged_once_until_it_works_again(store: FileStore, folder: Path) -> None:
    folder.parent.touch()
    with logged() as log:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.revision()
        folder.parent.unlink()
        assert await store.revision() == ""
        folder.parent.touch()
        with pytest.raises(StoreUnavailable):
            await store.revision()
    assert log.events == ["label_set_store_failed", "label_set_store_back", "label_set_store_failed"]
    assert "NotADirectoryError" in log.lines[0]["error"]
