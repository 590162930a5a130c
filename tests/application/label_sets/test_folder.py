"""Label sets that are files."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from clipserve.application.models import Models
from clipserve.errors import LabelSetReadOnly, UnknownLabelSet
from tests.application.label_sets.conftest import OpenSite, Site
from tests.application.label_sets.making import Counted, folder_of
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.test_label_sets import classified, rows
from tests.logs import Log
from tests.support import png
from tests.waiting import until

PETS = """
labels = ["cat", {label = "dog", id = "7", prompts = ["a {} b", "wolf"], examples = ["dog.png"]}]
templates = ["a {}"]
background = ["tree"]
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "dog.png").write_bytes(png(1))
    (folder / "pets.toml").write_text(PETS)
    return folder


async def test_a_file_is_what_the_same_request_would_be(open_site: OpenSite, files: Path) -> None:
    site = await open_site(files=files)
    await until(lambda: site.ready("pets"))
    put = await site.put(
        "same",
        labels=["cat", {"label": "dog", "id": "7", "prompts": ["a {} b", "wolf"], "examples": [png(1)]}],
        templates=["a {}"],
        background=["tree"],
    )
    state = site.sets.get("pets")
    assert (state.version, state.read_only) == (put.version, True)
    pets, same = [(await classified(site, name)).results[0] for name in ("pets", "same")]
    assert rows(pets) == rows(same)


async def test_files_that_come_change_and_go_are_followed(open_site: OpenSite, files: Path) -> None:
    site = await open_site(files=files)
    await until(lambda: site.ready("pets"))
    first = site.sets.get("pets").version
    (files / "moods.json").write_text(json.dumps({"labels": ["glad", "sad"]}))
    await until(lambda: site.ready("moods", "pets"))
    _replace(files / "pets.toml", 'labels = ["cat", "cow"]')
    await until(lambda: _changed(site, first))
    (files / "pets.toml").unlink()
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


class Slow(MemoryStore):
    """Says its revision when `gate` is open. `asked`: how often; `waiting`: how many wait for it now."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = self.waiting = 0

    async def revision(self) -> str:
        self.asked += 1
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return await super().revision()

    async def counts(self, asked: int, waiting: int) -> bool:
        return self.asked >= asked and self.waiting >= waiting


async def test_a_file_that_changes_while_a_deletion_is_given_up_is_followed(
    open_site: OpenSite, files: Path
) -> None:
    site = await open_site(store := Slow(), files=files)
    await site.put("other")
    await until(lambda: site.ready("other", "pets"))
    followed = store.asked + 4  # by then what its build has written is followed
    await until(lambda: store.counts(followed, 0))
    store.gate.clear()
    await until(lambda: store.counts(0, 1))  # whoever follows waits for the revision
    (files / "moods.json").write_text(json.dumps({"labels": ["glad", "sad"]}))
    deleting = asyncio.create_task(site.sets.delete("other"))
    await until(lambda: store.counts(0, 2))  # it has read the folder
    deleting.cancel()
    store.gate.set()
    await until(lambda: site.ready("moods", "pets"))


async def test_an_example_that_changes_changes_the_set(open_site: OpenSite, files: Path) -> None:
    site = await open_site(files=files)
    await until(lambda: site.ready("pets"))
    first = site.sets.get("pets").version
    (files / "dog.png").write_bytes(png(2))
    await until(lambda: _changed(site, first))


@pytest.mark.parametrize(
    "text",
    [
        "labels = [",
        "labels = 7",
        "other = 1",
        'labels = ["a", "a"]',
        'labels = [{label = "a", examples = ["../pets.toml"]}]',
        'labels = [{label = "a", examples = ["none.png"]}]',
        'labels = [{label = "a", examples = ["pets.toml"]}]',
        'labels = ["a"]\nmodel = "other"',
        'labels = ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]',
    ],
)
async def test_a_file_that_is_wrong_changes_nothing_and_is_said(
    open_site: OpenSite, files: Path, text: str, written: Log
) -> None:
    site = await open_site(files=files)
    await until(lambda: site.ready("pets"))
    first = (await classified(site, "pets")).label_sets
    _replace(files / "pets.toml", text)
    _replace(files / "moods.json", json.dumps({"labels": ["glad", "sad"]}))  # half of it would be said too
    await until(lambda: site.states.get("moods") == "ready")
    assert (await classified(site, "pets")).label_sets == first
    await until(
        lambda: "label_set_file_wrong" in written.getvalue() or "label_set_not_built" in written.getvalue()
    )
    lines = [line for line in written.lines if line["level"] != "info"]
    assert {line.get("file") or line["label_set"] for line in lines} <= {"pets.toml", "pets"}
    assert all(line["reason"] for line in lines)


async def test_a_folder_that_is_away_is_logged_once_until_it_is_lost_again(
    tmp_path: Path, written: Log
) -> None:
    path = tmp_path / "files"
    folder = folder_of(path)
    for lost in (1, 2):
        for _ in range(3):
            assert await folder.read(Models({})) == {}
        assert written.events == ["label_sets_folder_unreadable"] * lost
        path.mkdir()
        await folder.read(Models({}))
        path.rmdir()


@pytest.mark.parametrize("text", ['{"labels": ["\\ud800"]}', "[" * 100_000], ids=["half a pair", "deep"])
async def test_json_that_no_set_can_be_does_not_end_the_following(
    open_site: OpenSite, files: Path, text: str
) -> None:
    (files / "odd.json").write_text(text)
    site = await open_site(files=files)
    await until(lambda: site.ready("pets"))
    (files / "moods.json").write_text(json.dumps({"labels": ["glad", "sad"]}))
    await until(lambda: site.ready("moods", "pets"))


async def test_a_set_of_a_file_is_changed_by_its_file_alone(open_site: OpenSite, files: Path) -> None:
    site = await open_site(files=files)
    with pytest.raises(LabelSetReadOnly, match="pets comes from a file"):
        await site.put("pets")
    with pytest.raises(LabelSetReadOnly):
        await site.sets.delete("pets")


async def test_a_set_of_a_file_is_not_encoded_again_at_the_next_start(
    open_site: OpenSite, files: Path
) -> None:
    store = MemoryStore()
    site = await open_site(store, files=files)
    await until(lambda: site.ready("pets"))
    again = await open_site(store, files=files, backend=(backend := Counted()))
    assert again.ready("pets")
    assert (backend.texts, backend.images) == (0, 0)


async def test_a_link_out_of_the_folder_is_what_a_config_map_has(open_site: OpenSite, tmp_path: Path) -> None:
    data, folder = tmp_path / "..data", tmp_path / "mounted"
    for made in (data, folder):
        made.mkdir()
    (data / "pets.toml").write_text('labels = ["cat", "dog"]')
    (folder / "pets.toml").symlink_to(data / "pets.toml")
    site = await open_site(files=folder)
    await until(lambda: site.ready("pets"))
