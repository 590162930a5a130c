"""Rows of the store that are damaged: their set says so, the others go on, and it can be put again or deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from clipserve.application.label_sets.file_store import FileStore
from clipserve.application.label_sets.parts import PartEmbeddings
from clipserve.application.label_sets.store import Store
from clipserve.concurrency import loops_are_well
from clipserve.errors import LabelSetFailed
from tests.application.label_sets.conftest import OpenSite, Site
from tests.application.label_sets.making import Counted, long_ago, rows_of
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.test_label_sets import classified, version_at
from tests.waiting import until

DAMAGED = {  # by the name of the set whose row it is
    "nothing": b"",
    "zeros": bytes(100),
    "half-of-it": b'{"digest": "a", "prev',
    "no-object": b"[1]",
    "deep": b"[" * 100_000,
    "without-its-fields": b"{}",
    "of-a-later-version": b'{"model": "toy", "labels": [{"label": "cat"}], "later": 1}',
    "a-size-that-cannot-be": b'{"digest": "a", "size": 1000000000000000000000000000000}',
    "numbers-for-words": b'{"digest": 1, "previous": 2, "size": "x", "total": "y", "built": "z"}',
}
SHOWN = "its stored data cannot be read: put it again, or delete it."


def shown(site: Site) -> dict[str, tuple[str, str | None]]:
    return {state.name: (state.state, state.error) for state in site.sets.all()}


async def damage(store: Store, part: Literal["head", "body"], damaged: dict[str, bytes]) -> None:
    """`damaged`: by the name of a set."""
    rows = await rows_of(store, "sets")
    for name, data in damaged.items():
        head, body = rows[name]
        await store.put("sets", name, *((data, body) if part == "head" else (head, data)))


@pytest.mark.parametrize("part", ["head", "body"])
async def test_damaged_rows_are_shown_and_hold_up_no_other_set(
    open_site: OpenSite, store: FileStore, tmp_path: Path, part: Literal["head", "body"]
) -> None:
    before = await open_site(store)
    for name in ("good", *DAMAGED):
        await before.put(name)
    await damage(store, part, DAMAGED)
    files = tmp_path / "files"
    files.mkdir()
    site = await open_site(store, files=files)
    assert shown(site) == dict.fromkeys(DAMAGED, ("failed", SHOWN)) | {"good": ("ready", None)}
    for name in DAMAGED:
        with pytest.raises(LabelSetFailed, match=f"{name} cannot be built: {SHOWN}"):
            await classified(site, name)
    (files / "moods.json").write_text(json.dumps({"labels": ["glad", "sad"]}))
    assert (await site.put("other")).state == "ready"
    await until(lambda: site.ready("moods", "other", "good"))
    assert loops_are_well()
    for name in DAMAGED:
        assert (await site.put(name, labels=["glad"])).state == "ready", name
    await damage(store, part, DAMAGED)
    again = await open_site(store)
    for name in DAMAGED:
        assert shown(again)[name] == ("failed", SHOWN)
        await again.sets.delete(name)
        assert name not in shown(again)
    assert not {*await store.heads("sets")} & {*DAMAGED}


async def test_what_was_loaded_before_the_damage_is_served_on(open_site: OpenSite) -> None:
    store = MemoryStore()
    site = await open_site(store)
    version = (await site.put()).version
    await damage(store, "head", {"pets": b"damaged"})

    await until(lambda: shown(site) == {"pets": ("failed", SHOWN)})
    assert await version_at(site) == version
    assert (await site.put()).state == "ready"


def _embeddings(rows: Any = None, truncated: Any = None) -> bytes:
    whole = np.zeros((2, 16), np.float32) if rows is None else rows
    return PartEmbeddings(whole, np.zeros(2, np.bool_) if truncated is None else truncated).to_bytes()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no embeddings",
        _embeddings()[:-1],
        _embeddings() + b"\0",
        _embeddings()[:40] + b"\1" + _embeddings()[41:],
        b"\0" + _embeddings()[1:],
        _embeddings(np.zeros((3, 16), np.float32)),
        _embeddings(np.zeros((2, 15), np.float32)),
        _embeddings(truncated=np.zeros(1, np.bool_)),
    ],
    ids=range(9),
)
async def test_embeddings_that_are_damaged_are_made_again(open_site: OpenSite, damaged: bytes) -> None:
    store = MemoryStore()
    state = await (await open_site(store)).put()
    await store.put("vectors", f"{state.digest}.{state.version}.0-2", b"", damaged)
    await long_ago(store)
    again = await open_site(store, backend=(backend := Counted()))
    await until(lambda: again.ready("pets"))
    assert (await version_at(again), backend.texts) == (state.version, 2)
