"""The rows of label sets: what is kept, what is deleted, and when."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from clipserve.api.label_sets import LabelFields
from clipserve.application.label_sets.definition import Contents, Definition
from clipserve.application.label_sets.parts import Part, PartEmbeddings, parts_of
from clipserve.application.label_sets.shelf import Pointer, Shelf
from tests.application.label_sets.making import rows_of
from tests.application.label_sets.memory_store import MemoryStore

DAY, DIM = 86_400, 16
PART = Part(0, 2, 7)
DEFINITION = Definition(model="toy", labels=[LabelFields(label="cat")], templates=["{}"])
CONTENTS = Contents(DEFINITION, "digest", {}, 0)
EMBEDDINGS = PartEmbeddings(np.eye(2, DIM, dtype=np.float32), np.array([False, True]))


async def keep(shelf: Shelf, name: str, digest: str, former: str | None = None) -> None:
    """Put a set, with the embeddings of one version."""
    await shelf.keep(name, Pointer(digest=digest, former=former), CONTENTS)
    await shelf.add(digest, "v", PART, EMBEDDINGS)


async def digests(store: MemoryStore) -> set[str]:
    """Whose embeddings there are."""
    return {name.partition(".")[0] for name in await store.heads("vectors")}


async def test_embeddings_of_what_a_pointer_names_are_kept_and_others_deleted() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "pets", "older")
    await keep(shelf, "pets", "old")
    await keep(shelf, "pets", "new", former="old")
    await keep(shelf, "moods", "gone")
    assert await shelf.forget("moods")
    await shelf.sweep(())
    assert await digests(store) == {"new", "old"}


async def test_one_name_that_is_deleted_takes_nothing_from_another_of_the_same_definition() -> None:
    shelf = Shelf(MemoryStore())
    for name in ("pets", "same"):
        await keep(shelf, name, "digest")
    await shelf.forget("pets")
    await shelf.sweep(())
    assert await shelf.embeddings("digest", "v", [PART], DIM)


async def test_while_a_pointer_cannot_be_read_it_may_name_any_embeddings() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "pets", "digest")
    await store.put("sets", "pets", b"of a later version")
    await shelf.sweep(())
    assert await shelf.embeddings("digest", "v", [PART], DIM)


async def test_what_is_served_here_is_kept_whoever_names_it() -> None:
    shelf = Shelf(store := MemoryStore())
    await shelf.add("of a file", "served", PART, EMBEDDINGS)
    await shelf.add("of a file", "other", PART, EMBEDDINGS)
    await shelf.sweep(["served"])
    assert [name.split(".")[1] for name in await store.heads("vectors")] == ["served"]


async def test_embeddings_that_are_old_and_not_served_here_are_deleted() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "pets", "digest")
    for version, days in (("recent", 29), ("served", 31), ("old", 31)):
        name = f"digest.{version}.{PART.start}-{PART.stop}"
        await store.put("vectors", name, b"%d" % (time.time() - days * DAY))
    await store.put("vectors", "digest.damaged.0-2", b"[")
    await store.put("vectors", "no-name-of-ours", b"")
    await shelf.sweep(["served"])
    assert [name.split(".")[1] for name in await store.heads("vectors")] == ["v", "recent", "served"]


async def test_what_another_gateway_has_replaced_meanwhile_is_not_taken_for_the_wanted_set() -> None:
    shelf = Shelf(MemoryStore())
    await keep(shelf, "pets", "digest")
    with pytest.raises(ValueError, match="is not what the pointer names"):
        await shelf.contents("pets", Pointer(digest="digest"))


@pytest.mark.parametrize("former", [None, DEFINITION.model_copy(update={"threshold": 0.5})])
async def test_what_is_kept_comes_back_and_damage_is_noticed(former: Definition | None) -> None:
    shelf = Shelf(store := MemoryStore())
    files = [b"", b"image", bytes(100_000)]
    images = {hashlib.sha256(file).hexdigest(): file for file in files}
    await shelf.keep("pets", Pointer(digest="d"), Contents(DEFINITION, "d", images, 0, former))
    pointer = (await shelf.pointers())["pets"]
    assert pointer
    found = await shelf.contents("pets", pointer)
    assert (found.definition, found.digest, found.images, found.former) == (DEFINITION, "d", images, former)
    ((head, body),) = (await rows_of(store, "sets")).values()
    for damaged in (b"", body[:-1], body[1:], bytes(7), b"\xff" * 20, body + b"x"):
        await store.put("sets", "pets", head, damaged)
        with pytest.raises(ValueError, match="is not what the pointer names"):
            await shelf.contents("pets", pointer)


def test_the_parts_of_a_definition_have_all_its_names_and_examples_once() -> None:
    labels = [LabelFields(label=f"{n}", examples=[f"{n}"] * (n % 3)) for n in range(100)]
    definition = Definition(model="toy", labels=labels, templates=["{}"] * 7, background=["else"])
    parts = parts_of(definition)
    assert [position for part in parts for position in range(part.start, part.stop)] == [*range(101 + 99)]
    assert sum(part.prompts for part in parts) == 707
    assert sum(part.images for part in parts) == 99
    assert all((0 < part.prompts <= 256) != (0 < part.images <= 16) for part in parts)


def test_a_name_with_more_prompts_than_a_part_has_is_one() -> None:
    definition = Definition(model="toy", labels=[LabelFields(label=n) for n in "ab"], templates=["{}"] * 300)
    assert [part.prompts for part in parts_of(definition)] == [300, 300]
