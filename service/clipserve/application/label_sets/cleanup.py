"""What is left of former definitions of a label set, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.records import Build, Pointer
from clipserve.application.label_sets.store import Key, Kind, Store

_KINDS: tuple[Kind, ...] = ("definitions", "images", "builds", "weights")
# In the middle of an upgrade there are two fingerprints, after it was taken back perhaps three.
_VERSIONS = 3


async def tidy(store: Store, name: str, digest: str) -> None:
    """To be called when this definition is built. Raises StoreUnavailable.

    A definition that is put meanwhile still needs what was before it, and may share images with it: then nothing is
    changed, and the build of that one calls this again.
    """
    key: Key = ("sets", name)
    row = await store.get(key)
    puts: dict[Key, bytes] = {}
    kept: set[str] = set()  # of a file there are no definitions
    if row is not None:
        pointer = Pointer.found(row)
        if pointer is None or pointer.digest != digest:
            return
        if pointer.previous:
            puts[key] = replace(pointer, previous=None).to_bytes()
        kept = {f"{name}/{digest}", *await _images(store, name, digest)}
    rows = await rows_of(store, name)
    kept.update((await _versions(store, rows, digest))[:_VERSIONS])
    deletes = [each for each in rows if each[1] not in kept]
    if puts or deletes:
        await store.change(puts, deletes, expected={key: row})


async def rows_of(store: Store, name: str) -> list[Key]:
    """All rows of a label set but its pointer."""
    return [
        (kind, each) for kind in _KINDS for each in await store.names(kind) if each.startswith(f"{name}/")
    ]


async def _images(store: Store, name: str, digest: str) -> Iterator[str]:
    stored = await store.get(("definitions", f"{name}/{digest}"))
    labels = Definition.from_bytes(stored).labels if stored else ()
    return (f"{name}/{image}" for label in labels for image in label.examples)


async def _versions(store: Store, rows: list[Key], digest: str) -> list[str]:
    """Names of builds, the newest first, and before all those of this definition that are under way."""
    found = []
    for key in rows:
        if key[0] != "builds" or not (build := Build.found(await store.get(key))):
            continue
        if build.built is not None or build.digest == digest:
            found.append((float("inf") if build.built is None else build.built, key[1]))
    return [name for _, name in sorted(found, reverse=True)]
