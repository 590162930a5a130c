"""Label sets written to the store and deleted from it, beside other gateways that do the same."""

from __future__ import annotations

import time
from dataclasses import dataclass

from clipserve.application.label_sets.cleanup import rows_of
from clipserve.application.label_sets.definition import version_of
from clipserve.application.label_sets.records import Build, Pointer
from clipserve.application.label_sets.request import LabelSetLimits
from clipserve.application.label_sets.store import Key, Store
from clipserve.errors import TooMany


@dataclass(frozen=True)
class Draft:
    """What is to be kept.

    `definition`: its bytes. `digest`: what names it. `images`: by their SHA-256.
    `vectors_size`: bytes of embeddings. `payer`: see `Pointer`.
    """

    name: str
    fingerprint: str
    definition: bytes
    digest: str
    images: dict[str, bytes]
    vectors_size: int
    payer: str | None = None

    @property
    def version(self) -> str:
        return version_of(self.digest, self.fingerprint)

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return len(self.definition) + sum(map(len, self.images.values())) + self.vectors_size


async def keep(store: Store, draft: Draft, limits: LabelSetLimits) -> None:
    """From now on this is the definition of its name. If others write at the same time, the last is kept.

    The same definition again is written again: so a set with a damaged row is mended, and one whose build has
    failed for good is tried again.

    Raises:
        TooMany: there are too many label sets, or they take too many bytes.
        StoreUnavailable: see `Store`.
    """
    key: Key = ("sets", draft.name)
    while True:
        row = await store.get(key)
        await _check_room(store, draft, limits)
        previous = await _served_until_then(store, draft, Pointer.found(row))
        paid = draft.payer, draft.version
        puts = {key: Pointer(draft.digest, previous, draft.size, time.time(), *paid).to_bytes()}
        puts["definitions", f"{draft.name}/{draft.digest}"] = draft.definition
        puts |= {("images", f"{draft.name}/{image}"): file for image, file in draft.images.items()}
        build: Key = ("builds", f"{draft.name}/{draft.version}")
        built = await store.get(build)
        deletes = [] if built is None or Build.found(built) else [build]
        if await store.change(puts, deletes, expected={key: row, build: built}):
            return


async def forget(store: Store, name: str) -> bool:
    """Delete all rows of a label set; False if there is none. Raises StoreUnavailable."""
    key: Key = ("sets", name)
    while (row := await store.get(key)) is not None:
        if await store.change({}, [key, *await rows_of(store, name)], expected={key: row}):
            return True
    return False


async def _check_room(store: Store, draft: Draft, limits: LabelSetLimits) -> None:
    others = {name: Pointer.found(row) for name, row in (await store.rows("sets")).items()}
    others.pop(draft.name, None)
    if (count := len(others) + 1) > limits.max_label_sets:
        raise TooMany(
            f"there are {len(others):,} label sets; the limit is {limits.max_label_sets:,}. Delete one.",
            limit=limits.max_label_sets,
            actual=count,
        )
    size = draft.size + sum(each.size for each in others.values() if each)
    if size > limits.max_label_sets_bytes:
        raise TooMany(
            f"all label sets would have {size:,} bytes; the limit is {limits.max_label_sets_bytes:,}. Delete one.",
            limit=limits.max_label_sets_bytes,
            actual=size,
        )


async def _served_until_then(store: Store, draft: Draft, former: Pointer | None) -> str | None:
    if former is None:
        return None
    if former.digest == draft.digest:
        return former.previous
    row = await store.get(("builds", f"{draft.name}/{version_of(former.digest, draft.fingerprint)}"))
    build = Build.found(row)
    return former.digest if build and build.built is not None else former.previous
