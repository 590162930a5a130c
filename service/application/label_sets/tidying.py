"""What is left of former definitions of a label set, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from service.application.label_sets.definition import Definition
from service.application.label_sets.records import Build, Pointer
from service.application.label_sets.store import Key, Kind, Store

_KINDS: tuple[Kind, ...] = ("definitions", "images", "builds", "weights")
# In the middle of an upgrade there are two fingerprints, after it was taken back perhaps three.
_VERSIONS = 3


async def tidy(store: Store, name: str) -> None:
    """To be called when the wanted definition is built. Raises StoreUnavailable.

    What is there is listed before it is read what is wanted: a definition that is put meanwhile is not in the list.
    """
    rows = await rows_of(store, name)
    row = await store.get(("sets", name))
    if row is not None:
        pointer = Pointer.from_bytes(row)
        if pointer.previous:
            wanted = replace(pointer, previous=None).to_bytes()
            await store.change({("sets", name): wanted}, expected={("sets", name): row})
            return await tidy(store, name)
        kept = {f"{name}/{pointer.digest}", *await _images(store, name, pointer.digest)}
    else:
        kept = set()  # of a file there are no definitions
    versions = await _versions(store, rows)
    kept.update(versions[:_VERSIONS])
    deletes = [key for key in rows if key[1] not in kept]
    if deletes:
        await store.change({}, deletes)
    return None


async def rows_of(store: Store, name: str) -> list[Key]:
    """All rows of a label set but its pointer."""
    return [
        (kind, each) for kind in _KINDS for each in await store.names(kind) if each.startswith(f"{name}/")
    ]


async def _images(store: Store, name: str, digest: str) -> Iterator[str]:
    stored = await store.get(("definitions", f"{name}/{digest}"))
    labels = Definition.from_bytes(stored).labels if stored else ()
    return (f"{name}/{image}" for label in labels for image in label.examples)


async def _versions(store: Store, rows: list[Key]) -> list[str]:
    """Names of builds, the newest first, and those that are under way before all."""
    found = []
    for key in rows:
        if key[0] == "builds" and (row := await store.get(key)):
            built = Build.from_bytes(row).built
            found.append((float("inf") if built is None else built, key[1]))
    return [name for _, name in sorted(found, reverse=True)]
