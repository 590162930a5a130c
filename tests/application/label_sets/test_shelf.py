"""What is deleted of label sets, and what is not, while others write."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from clipserve.application.label_sets.definition import Definition, LabelFields
from clipserve.application.label_sets.records import Build, Pointer, Weights
from clipserve.application.label_sets.shelf import Shelf
from clipserve.application.label_sets.store import Kind
from tests.application.label_sets.making import rows_of
from tests.application.label_sets.memory_store import MemoryStore

KINDS: tuple[Kind, ...] = get_args(Kind)


async def keep(shelf: Shelf, digest: str, previous: str | None = None) -> None:
    """Put it; its version has the same name."""
    pointer = Pointer(digest=digest, previous=previous, size=0, pays_for=f"v-{digest}")
    definition = Definition(model="toy", labels=[LabelFields(label="cat", examples=[f"of {digest}"])])
    images = {f"of {digest}": b"image"}
    await shelf.keep("pets", pointer, definition.to_bytes(), images, Build(digest=digest, total=1))
    await shelf.drop_unused("pets", used(digest) | (used(previous) if previous else set()))


def used(digest: str) -> set[str]:
    """The rows of a definition."""
    return {digest, f"of {digest}"}


async def report(shelf: Shelf, digest: str, built: float | None = None) -> None:
    """`built`: when it ended; None: it has not."""
    weights = Weights.none(np.zeros((0, 16), np.float32))
    build = Build(digest=digest, total=1, done=int(built is not None), until=built or 0.0)
    await shelf.report("pets", f"v-{digest}", build, weights)


async def stored(store: MemoryStore) -> dict[Kind, dict[str, bytes]]:
    return {kind: await rows_of(store, kind) for kind in KINDS}


async def test_a_build_that_ends_late_leaves_alone_what_a_later_put_needs() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "old")
    await report(shelf, "old", built=1.0)
    await keep(shelf, "new", previous="old")
    before = await stored(store)
    await shelf.drop_unused("pets", used("old"), "v-old")
    assert await stored(store) == before


async def test_definitions_that_are_replaced_before_they_are_built_are_deleted() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "served")
    for digest in ("second", "third"):
        await keep(shelf, digest, previous="served")
    assert await store.names("definitions") == ["pets/served", "pets/third"]
    assert await store.names("images") == ["pets/of served", "pets/of third"]


async def test_of_old_builds_the_newest_are_kept() -> None:
    shelf = Shelf(store := MemoryStore())
    for number in range(6):
        await keep(shelf, f"{number}")
        await report(shelf, f"{number}", built=number)
    await shelf.drop_unused("pets", used("5"), "v-5")
    assert sorted(await store.names("weights")) == ["pets/v-3", "pets/v-4", "pets/v-5"]


async def test_builds_that_never_ended_do_not_push_out_the_one_that_did() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "new")
    for version in ("v-1", "v-2", "v-3"):
        await shelf.report("pets", version, Build(digest="new", total=1), None)
    await report(shelf, "new", built=1.0)
    await shelf.drop_unused("pets", used("new"), "v-new")
    assert await store.names("weights") == ["pets/v-new"]


@pytest.mark.parametrize("change", ["replaced", "deleted"])
async def test_a_build_that_nobody_wants_any_more_leaves_nothing(change: str) -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "old")
    if change == "replaced":
        await keep(shelf, "new")
    else:
        assert await shelf.forget("pets")
    await report(shelf, "old")
    assert await store.names("weights") == []
    assert await store.names("builds") == (["pets/v-new"] if change == "replaced" else [])


async def test_a_late_report_leaves_alone_what_is_served_until_the_new_one_is_built() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "old")
    await report(shelf, "old", built=1.0)
    await keep(shelf, "new", previous="old")
    await report(shelf, "old", built=2.0)
    assert await store.names("weights") == ["pets/v-old"]


async def test_a_report_of_a_set_that_is_gone_leaves_nothing_while_others_write() -> None:
    shelf = Shelf(store := MemoryStore())
    store.changes = {"sets": [lambda: store.put({("builds", "other/v"): b"{}"})] * 3}
    await report(shelf, "old", built=1.0)
    assert (await store.names("builds"), await store.names("weights")) == (["other/v"], [])


async def test_what_a_killed_gateway_has_left_of_a_deleted_set_is_dropped() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "kept")
    gone, of_file = Build(digest="d", total=1), Build(digest="d", total=1, of_file=True)
    await store.put({("builds", "gone/v"): gone.to_bytes(), ("weights", "gone/v"): b""})
    await store.put({("builds", "mine/v"): gone.to_bytes(), ("weights", "mine/v"): b""})
    await store.put({("builds", "theirs/v"): of_file.to_bytes(), ("weights", "theirs/v"): b""})
    await shelf.drop_orphans(["mine"])
    assert await store.names("weights") == ["mine/v", "theirs/v"]
    assert await store.names("builds") == ["pets/v-kept", "mine/v", "theirs/v"]
    assert await store.names("definitions") == ["pets/kept"]


async def test_what_is_put_again_while_it_is_collected_is_not_deleted() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "old")
    await keep(shelf, "new", previous="old")
    store.changes = {"weights": [lambda: keep(shelf, "old", previous="new")]}
    await shelf.drop_unused("pets", used("new"), "v-new")
    assert {"pets/old", "pets/new"} == set(await store.names("definitions"))


async def test_what_is_written_while_a_set_is_deleted_goes_with_it() -> None:
    shelf = Shelf(store := MemoryStore())
    await keep(shelf, "old")
    store.changes = {"weights": [lambda: keep(shelf, "new")]}
    assert await shelf.forget("pets")
    assert await stored(store) == {kind: {} for kind in KINDS}
    assert not await shelf.forget("pets")
