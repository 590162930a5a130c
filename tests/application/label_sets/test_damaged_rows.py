"""Rows of the store that are damaged: their set says so, the others go on, and it can be put again or deleted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.application.label_sets.records import Weights
from clipserve.application.label_sets.sqlite_store import SqliteStore
from clipserve.application.label_sets.store import Kind, Store
from clipserve.concurrency import loops_are_well
from clipserve.errors import LabelSetFailed
from tests.application.label_sets.conftest import OpenSite, Site
from tests.application.label_sets.making import Counted
from tests.application.label_sets.memory_store import MemoryStore
from tests.application.label_sets.test_label_sets import classified, until, version_at

DAMAGED = {  # by the name of the set whose row it is
    "nothing": b"",
    "zeros": bytes(100),
    "half-of-it": b'{"digest": "a", "prev',
    "no-object": b"[1]",
    "deep": b"[" * 100_000,
    "without-its-fields": b"{}",
    "of-a-later-version": b'{"model": "toy", "labels": [{"label": "cat"}], "later": 1}',
    "numbers-for-words": b'{"digest": 1, "previous": 2, "size": "x", "total": "y", "built": "z"}',
}
SHOWN = "its stored data cannot be read: put it again, or delete it."


def shown(site: Site) -> dict[str, tuple[str, str | None]]:
    return {state.name: (state.state, state.error) for state in site.sets.all()}


def ready(site: Site, *names: str) -> Callable[[], Awaitable[bool]]:
    async def are() -> bool:
        return all(shown(site).get(name, ("", None))[0] == "ready" for name in names)

    return are


async def damage(store: Store, kind: Kind, rows: dict[str, bytes]) -> None:
    """When nobody writes any more: after a build its former versions are deleted. `rows`: by the set's name."""
    before = None
    while before != (before := await store.revision()):
        await asyncio.sleep(0.3)
    names = await store.names(kind)
    kept = {name: [each for each in names if each.split("/")[0] == name] for name in rows}
    assert {len(found) for found in kept.values()} == {1}, kept
    await store.put({(kind, kept[name][0]): row for name, row in rows.items()})


@pytest.mark.parametrize("kind", ["sets", "definitions"])
async def test_damaged_rows_are_shown_and_hold_up_no_other_set(
    open_site: OpenSite, store: SqliteStore, tmp_path: Path, kind: Kind
) -> None:
    before = await open_site(store)
    for name in ("good", *DAMAGED):
        await before.put(name)
    await damage(store, kind, DAMAGED)
    files = tmp_path / "files"
    files.mkdir()
    site = await open_site(store, files=files)
    assert shown(site) == dict.fromkeys(DAMAGED, ("failed", SHOWN)) | {"good": ("ready", None)}
    for name in DAMAGED:
        with pytest.raises(LabelSetFailed, match=f"{name} cannot be built: {SHOWN}"):
            await classified(site, name)
    (files / "moods.json").write_text(json.dumps({"labels": ["glad", "sad"]}))
    assert (await site.put("other")).state == "ready"
    await until(ready(site, "moods", "other", "good"))
    assert loops_are_well()
    for name in DAMAGED:
        assert (await site.put(name, labels=["glad"])).state == "ready", name
    await damage(store, kind, DAMAGED)
    again = await open_site(store)
    for name in DAMAGED:
        assert shown(again)[name] == ("failed", SHOWN)
        await again.sets.delete(name)
        assert name not in shown(again)
    assert not {name.split("/")[0] for name in await store.names("builds")} & {*DAMAGED}


async def test_a_set_whose_definition_is_gone_is_shown(open_site: OpenSite) -> None:
    store = MemoryStore()
    await (await open_site(store)).put()
    (name,) = await store.names("definitions")
    assert await store.delete([("definitions", name)], await store.revision())
    site = await open_site(store)
    assert shown(site) == {"pets": ("failed", SHOWN)}
    assert (await site.put()).state == "ready"


async def test_what_was_loaded_before_the_damage_is_served_on(open_site: OpenSite) -> None:
    store = MemoryStore()
    site = await open_site(store)
    version = (await site.put()).version
    await damage(store, "sets", {"pets": b"damaged"})

    async def noticed() -> bool:
        return shown(site) == {"pets": ("failed", SHOWN)}

    await until(noticed)
    assert await version_at(site) == version
    assert (await site.put()).state == "ready"


@pytest.mark.parametrize("is_file", [False, True], ids=["put", "a file"])
async def test_damaged_rows_of_builds_are_written_anew(
    open_site: OpenSite, tmp_path: Path, is_file: bool
) -> None:
    store = MemoryStore()
    (files := tmp_path / "files").mkdir()
    (files / "moods.json").write_text(json.dumps({"labels": ["glad", "sad"]}))
    for name in DAMAGED if is_file else ():
        (files / f"{name}.json").write_text(json.dumps({"labels": ["cat", "dog"]}))
    before = await open_site(store, files=files)
    for name in () if is_file else DAMAGED:
        await before.put(name)
    await until(ready(before, "moods", *DAMAGED))
    await damage(store, "builds", DAMAGED)
    site = await open_site(store, files=files, backend=(backend := Counted()))
    await until(ready(site, "moods", *DAMAGED))
    assert backend.texts == 0, "their embeddings are there"


def _weights(**changed: Any) -> bytes:
    whole = {
        "texts": np.zeros((2, 16), np.float32),
        "truncated": np.zeros(2, np.bool_),
        "examples": np.zeros((0, 16), np.float32),
    }
    return Weights(**(whole | changed)).to_bytes()


def _packed_unknown() -> bytes:
    """One bit is another one, so that an array is packed in a way that no zip has."""
    damaged = bytearray(_weights())
    damaged[damaged.rindex(b"PK\x01\x02") + 10] ^= 0x40
    return bytes(damaged)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no archive",
        b"PK\x03\x04",
        _packed_unknown(),
        _weights(texts=np.zeros((3, 16), np.float32), truncated=np.zeros(3, np.bool_)),
        _weights(texts=np.zeros((2, 15), np.float32)),
        _weights(texts=np.zeros((2, 16), np.int8)),
        _weights(truncated=np.zeros(1, np.bool_)),
        _weights(examples=np.zeros((5, 3), np.float32)),
    ],
    ids=range(9),
)
async def test_embeddings_that_are_damaged_are_made_again(open_site: OpenSite, damaged: bytes) -> None:
    store = MemoryStore()
    await (await open_site(store)).put()
    await damage(store, "weights", {"pets": damaged})
    again = await open_site(store)
    await until(ready(again, "pets"))
    assert await version_at(again) is not None
