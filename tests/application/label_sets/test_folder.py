"""A folder: what people write there, and faults of the disk."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.application.label_sets.store import Folder
from clipserve.errors import StoreUnavailable
from tests.application.label_sets.conftest import OpenSite, OpenStore
from tests.application.label_sets.making import Counted
from tests.application.label_sets.test_label_sets import classified, rows, version_at
from tests.support.logs import Log, logged
from tests.support.process import ROOT, UNPRIVILEGED
from tests.support.waiting import until

PETS = """
labels = ["cat", {label = "dog", id = "7", prompts = ["a {} b", "wolf"]}]
templates = ["a {}"]
background = ["tree"]
"""


@pytest.fixture
def written_by_people(folder: Path) -> Path:
    """The folder of the store, with pets.toml, as a ConfigMap has it, and a pipe, which is no file."""
    folder.mkdir(parents=True)
    (folder.parent / "..data").write_text(PETS)
    (folder / "pets.toml").symlink_to(folder.parent / "..data")
    os.mkfifo(folder / "pipe.json")
    return folder


async def test_a_file_is_what_the_same_request_would_be(
    open_site: OpenSite, another: OpenStore, written_by_people: Path
) -> None:
    site = await open_site(another())
    await until(lambda: site.ready("pets"))
    dog = {"label": "dog", "id": "7", "prompts": ["a {} b", "wolf"]}
    put = await site.put("same", labels=["cat", dog], templates=["a {}"], background=["tree"])
    assert site.sets.get("pets").version == put.version
    pets, same = [(await classified(site, name)).results[0] for name in ("pets", "same")]
    assert rows(pets) == rows(same)
    again = await open_site(another(), backend=(backend := Counted()))
    assert again.ready("pets", "same")
    assert backend.texts == 0, "nor at the next start"


async def test_of_a_file_and_a_put_the_later_one_is_served_and_a_deletion_is_of_both(
    open_site: OpenSite, another: OpenStore, written_by_people: Path
) -> None:
    folder, site = written_by_people, await open_site(another(), backend=(backend := Counted()))
    (folder / "moods.json").write_text(json.dumps({"labels": ["glad", "sad"]}))
    await until(lambda: site.ready("moods", "pets"))
    by_file = site.sets.get("pets").version
    put = (await site.put("pets", labels=["cow"])).version
    assert await version_at(site) == put
    replaced(folder / "pets.toml", PETS)
    await until(lambda: site.sets.get("pets").served_version == by_file)
    backend.gate.clear()
    replaced(folder / "pets.toml", 'labels = ["pig"]')
    await until(lambda: site.states["pets"] == "building")
    assert await version_at(site) == by_file, "until the new one is built"
    backend.gate.set()
    await until(lambda: site.ready("moods", "pets"))  # a build that goes on may leave a file
    await site.sets.delete("pets")
    assert [*site.states] == ["moods"]
    assert not [*folder.glob("pets.*")]
    (folder / "moods.json").unlink()
    await until(lambda: not site.states)


def replaced(file: Path, text: str) -> None:
    """All of it at once."""
    other = file.with_suffix(".new")
    other.write_text(text)
    os.replace(other, file)


WRONG = {
    "half a list": "labels = [",
    "a field that is unknown": "other = 1",
    "a label twice": 'labels = ["a", "a"]',
    "an example": 'labels = [{label = "a", examples = ["dog.png"]}]',
    "another model": 'labels = ["a"]\nmodel = "other"',
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
async def test_a_file_that_is_wrong_changes_nothing_and_is_said(
    open_site: OpenSite, another: OpenStore, written_by_people: Path, text: str, written: Log
) -> None:
    folder, site = written_by_people, await open_site(another())
    await until(lambda: site.ready("pets"))
    first = await version_at(site)
    replaced(folder / "pets.toml", text)
    (folder / "deep.json").write_text("[" * 100_000)
    replaced(folder / "moods.json", json.dumps({"labels": ["glad", "sad"]}))
    await until(lambda: site.states.get("moods") == "ready")
    assert await version_at(site) == first
    said = {
        line["file"] for line in written.lines if line["event"] == "label_set_file_wrong" and line["reason"]
    }
    assert said == {"pets.toml", "deep.json"}


# The disk.


async def test_nothing_is_made_before_the_first_put_and_then_only_its_user_may_read_it(folder: Path) -> None:
    store = Folder(folder)
    assert dict(await store.listing()) == {}
    assert not folder.parent.exists()
    await store.write("a.json", b"1")
    for made in (folder.parent, folder):
        assert made.stat().st_mode & 0o777 == 0o700
    assert (folder / "a.json").stat().st_mode & 0o777 == 0o600


async def test_a_store_that_fails_is_logged_once_until_it_works_again_and_its_error_keeps_no_frames(
    folder: Path,
) -> None:
    store, path = Folder(folder), folder.parents[1]
    path.touch()
    with logged() as log:
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="CLIPSERVE_STATE_DIR must be a folder on") as raised:
                await store.write("a.json", b"1")
        path.unlink()
        assert dict(await store.listing()) == {}
        path.touch()
        with pytest.raises(StoreUnavailable):
            await store.listing()
    assert log.events == ["label_set_store_failed", "label_set_store_back", "label_set_store_failed"]
    assert isinstance(raised.value.__context__, OSError)
    assert raised.value.__context__.__traceback__ is None


READING = """
import asyncio, sys
from pathlib import Path
from clipserve.application.label_sets.store import Folder

print(*asyncio.run(Folder(Path(sys.argv[1])).listing()))
"""


async def test_a_folder_that_may_only_be_read_is_read_without_what_a_killed_process_left(
    folder: Path,
) -> None:
    await Folder(folder).write("a.json", b"1")
    (folder / ".abcd1234").touch()
    folder.chmod(0o500)
    reading = [*UNPRIVILEGED, sys.executable, "-c", READING, str(folder)]
    done = await asyncio.to_thread(subprocess.run, reading, cwd=ROOT, capture_output=True, text=True)
    folder.chmod(0o700)
    assert done.stdout == "a.json\n", done.stderr
