"""A folder: what people write there, faults of the disk, and processes that are killed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.application.label_sets import store as stores
from clipserve.application.label_sets.store import Folder
from clipserve.errors import LabelSetReadOnly, StoreUnavailable, UnknownLabelSet
from tests.application.label_sets.conftest import OpenSite
from tests.application.label_sets.making import MOST, Counted, Site
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.test_label_sets import classified, rows
from tests.logs import Log, logged
from tests.process import ROOT, UNPRIVILEGED
from tests.support import png
from tests.waiting import until

PETS = """
labels = ["cat", {label = "dog", id = "7", prompts = ["a {} b", "wolf"], examples = ["dog.png"]}]
templates = ["a {}"]
background = ["tree"]
"""


@pytest.fixture(params=["the store's", "another"])
def place(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> tuple[Path, Folder, Path | None]:
    """A folder where people write; the store; CLIPSERVE_LABEL_SETS_FOLDER."""
    path = folder if request.param == "the store's" else tmp_path / "mounted"
    path.mkdir(parents=True)
    (path / "dog.png").write_bytes(png(1))
    (path / "pets.toml").write_text(PETS)
    return path, Folder(folder, MOST), None if path == folder else path


Place = tuple[Path, Folder, Path | None]


async def test_a_file_is_what_the_same_request_would_be(open_site: OpenSite, place: Place) -> None:
    _, store, files = place
    site = await open_site(store, files=files)
    await until(lambda: site.ready("pets"))
    dog = {"label": "dog", "id": "7", "prompts": ["a {} b", "wolf"], "examples": [png(1)]}
    put = await site.put("same", labels=["cat", dog], templates=["a {}"], background=["tree"])
    state = site.sets.get("pets")
    assert (state.version, state.read_only, put.read_only) == (put.version, True, False)
    pets, same = [(await classified(site, name)).results[0] for name in ("pets", "same")]
    assert rows(pets) == rows(same)
    again = await open_site(store, files=files, backend=(backend := Counted()))
    assert again.ready("pets", "same")
    assert (backend.texts, backend.images) == (0, 0), "nor at the next start"


async def test_files_that_come_change_and_go_are_followed(open_site: OpenSite, place: Place) -> None:
    path, store, files = place
    site = await open_site(store, files=files)
    await until(lambda: site.ready("pets"))
    first = site.sets.get("pets").version
    (path / "dog.png").write_bytes(png(2))
    await until(lambda: _changed(site, first))
    second = site.sets.get("pets").version
    (path / "moods.json").write_text(json.dumps({"labels": ["glad", "sad"]}))
    await until(lambda: site.ready("moods", "pets"))
    _replace(path / "pets.toml", 'labels = ["cat", "cow"]')
    await until(lambda: _changed(site, second))
    (path / "pets.toml").unlink()
    await until(lambda: site.ready("moods"))
    with pytest.raises(UnknownLabelSet):
        site.sets.get("pets")


async def _changed(site: Site, version: str) -> bool:
    state = site.sets.get("pets")
    return state.state == "ready" and state.version != version


def _replace(file: Path, text: str) -> None:
    """As a ConfigMap is: all of it at once."""
    other = file.with_suffix(".new")
    other.write_text(text)
    os.replace(other, file)


WRONG = {
    "half a list": "labels = [",
    "a number for labels": "labels = 7",
    "a field that is unknown": "other = 1",
    "a label twice": 'labels = ["a", "a"]',
    "an example outside": 'labels = [{label = "a", examples = ["../pets.toml"]}]',
    "an example that is not there": 'labels = [{label = "a", examples = ["none.png"]}]',
    "another model": 'labels = ["a"]\nmodel = "other"',
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
async def test_a_file_that_is_wrong_changes_nothing_and_is_said(
    open_site: OpenSite, place: Place, text: str, written: Log
) -> None:
    path, store, files = place
    site = await open_site(store, files=files)
    await until(lambda: site.ready("pets"))
    first = (await classified(site, "pets")).label_sets
    _replace(path / "pets.toml", text)
    (path / "deep.json").write_text("[" * 100_000)
    _replace(path / "moods.json", json.dumps({"labels": ["glad", "sad"]}))
    await until(lambda: site.states.get("moods") == "ready")
    await until(lambda: len(wrong(written)) == 2)
    assert (await classified(site, "pets")).label_sets == first
    assert wrong(written) == {"pets.toml", "deep.json"}


def wrong(log: Log) -> set[str]:
    return {
        str(line["file"]) for line in log.lines if line["event"] == "label_set_file_wrong" and line["reason"]
    }


@pytest.mark.parametrize("text", [PETS, "labels = ["], ids=["good", "wrong"])
async def test_what_people_write_is_changed_by_them_alone(
    open_site: OpenSite, place: Place, text: str
) -> None:
    path, store, files = place
    (path / "pets.toml").unlink()
    (path / "pets.json").write_text(text)
    site = await open_site(store, files=files)
    with pytest.raises(LabelSetReadOnly, match="pets comes from a file"):
        await site.put("pets")
    with pytest.raises(LabelSetReadOnly):
        await site.sets.delete("pets")
    assert (path / "pets.json").read_text() == text


async def test_files_are_followed_while_the_store_is_away(open_site: OpenSite, tmp_path: Path) -> None:
    (files := tmp_path / "files").mkdir()
    (files / "pets.toml").write_text('labels = ["cat", "dog"]')
    store = MemoryStore()
    store.away = True
    site = await open_site(store, files=files)
    await until(lambda: bool(site.sets.entries.get("pets") and site.sets.entries["pets"].built))
    (files / "pets.toml").unlink()
    await until(lambda: "pets" not in site.sets.entries)


async def test_a_link_out_of_the_folder_is_what_a_config_map_has(open_site: OpenSite, tmp_path: Path) -> None:
    data, mounted = tmp_path / "..data", tmp_path / "mounted"
    for made in (data, mounted):
        made.mkdir()
    (data / "pets.toml").write_text('labels = ["cat", "dog"]')
    (mounted / "pets.toml").symlink_to(data / "pets.toml")
    site = await open_site(files=mounted)
    await until(lambda: site.ready("pets"))


# The disk.


async def test_nothing_is_made_before_the_first_put_and_then_only_its_user_may_read_it(folder: Path) -> None:
    store = Folder(folder, MOST)
    assert dict(await store.listing()) == {}
    assert not folder.parent.exists()
    await store.write("a.json", b"1")
    for made in (folder.parent, folder):
        assert made.stat().st_mode & 0o777 == 0o700
    assert (folder / "a.json").stat().st_mode & 0o777 == 0o600


async def test_a_pipe_is_no_set(folder: Path) -> None:
    store = Folder(folder, MOST)
    await store.write("pets.json", b"{}")
    os.mkfifo(folder / "pipe.json")
    assert [*await asyncio.wait_for(store.listing(), 60)] == ["pets.json"]


async def test_a_store_that_fails_is_logged_once_until_it_works_again(folder: Path) -> None:
    store, path = Folder(folder, MOST), folder.parents[1]
    path.touch()
    with logged() as log:
        for _ in range(3):
            with pytest.raises(
                StoreUnavailable, match="CLIPSERVE_STATE_DIR must be a folder on a local disk"
            ):
                await store.write("a.json", b"1")
        path.unlink()
        assert dict(await store.listing()) == {}
        path.touch()
        with pytest.raises(StoreUnavailable):
            await store.listing()
    assert log.events == ["label_set_store_failed", "label_set_store_back", "label_set_store_failed"]


def test_an_error_of_a_store_keeps_no_frames() -> None:
    with pytest.raises(StoreUnavailable) as raised, stores.Failures(OSError, "").translated():
        raise OSError("no room")
    assert isinstance(raised.value.__context__, OSError)
    assert raised.value.__context__.__traceback__ is None


async def test_a_folder_that_was_taken_away_or_put_back_is_noticed(folder: Path, tmp_path: Path) -> None:
    store = Folder(folder, MOST)
    await store.write("a.json", b"1")
    seen = [dict(await store.listing())]
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    assert dict(await store.listing()) == {}
    shutil.copytree(tmp_path / "copy", folder)
    seen.append(dict(await store.listing()))
    assert seen[0] != seen[1]
    assert await store.read("a.json") == b"1"


async def ran(*command: str) -> str:
    """What a process prints."""
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


FULL = """
import asyncio, os, sys
from pathlib import Path
from clipserve.application.label_sets.store import Folder
from clipserve.errors import StoreUnavailable

async def main():
    disk, kept = Path(sys.argv[1]), 0
    store = Folder(disk / "label-sets", 10**8)
    try:
        while True:
            await store.write(f"{kept}.json", os.urandom(100_000))
            kept += 1
    except StoreUnavailable as error:
        print(error.detail)
    assert kept > 3
    assert sorted(await store.listing()) == sorted(f"{i}.json" for i in range(kept)), "nothing half"
    other = os.open(disk / "other", os.O_CREAT | os.O_WRONLY)
    try:
        while os.write(other, bytes(4_096)):
            pass
    except OSError:
        pass
    for i in range(kept):
        assert len(await store.read(f"{i}.json")) == 100_000
        assert await store.delete([f"{i}.json"])
    print(len(await store.listing()))

asyncio.run(main())
"""


async def test_a_full_disk_loses_nothing_keeps_nothing_half_and_lets_sets_be_deleted(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=2m tmpfs "$1" && shift && exec "$@"'
    apart = ("unshare", "--map-root-user", "--mount", "sh", "-c", mount, "-", str(tmp_path))
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs a privilege that this process does not have")
    detail, left = (await ran(*apart, sys.executable, "-c", FULL, str(tmp_path))).splitlines()
    assert "with free space" in detail
    assert left == "0"


READING = """
import asyncio, sys
from pathlib import Path
from clipserve.application.label_sets.store import Folder

print(*asyncio.run(Folder(Path(sys.argv[1]), 10**8).listing()))
"""


async def test_a_folder_that_may_only_be_read_is_read(folder: Path) -> None:
    await Folder(folder, MOST).write("a.json", b"1")
    (folder / ".abcd1234").touch()
    os.utime(folder / ".abcd1234", (0, 0))
    folder.chmod(0o500)
    assert await ran(*UNPRIVILEGED, sys.executable, "-c", READING, str(folder)) == "a.json\n"
    folder.chmod(0o700)


async def test_a_process_that_is_killed_at_any_write_leaves_the_old_set_or_the_new_one(
    tmp_path: Path,
) -> None:
    """At its first change of the disk, at its second, and so on."""
    killed = int(await ran(sys.executable, "-m", "tests.application.label_sets.killed", str(tmp_path)))
    assert killed > 15
