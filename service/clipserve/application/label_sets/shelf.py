"""The records of label sets in a store: read, written, and deleted when no pointer leads to them any more."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.records import Build, Pointer, Weights
from clipserve.application.label_sets.store import Key, Kind, Store
from clipserve.errors import StoreUnavailable

_RECORDS: tuple[Kind, ...] = ("definitions", "images", "builds", "weights")
# In the middle of an upgrade there are two fingerprints, after it was taken back perhaps three.
_VERSIONS = 3


class Shelf:
    """All methods raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def revision(self) -> int:
        """Another one after each change."""
        return await self._store.revision()

    async def pointers(self) -> dict[str, Pointer | None]:
        """By the names of the sets; None: it is damaged."""
        rows = await self._store.get("sets", await self._store.names("sets"))
        return {name: Pointer.found(row) for name, row in rows.items()}

    async def definition(self, name: str, digest: str) -> Definition | None:
        """None: it is not there. Raises ValueError: it is damaged."""
        row = await self._row("definitions", f"{name}/{digest}")
        return None if row is None else await asyncio.to_thread(Definition.from_bytes, row)

    async def images(self, name: str, digests: Iterable[str]) -> dict[str, bytes]:
        """Those that are there, by their SHA-256."""
        rows = await self._store.get("images", [f"{name}/{digest}" for digest in digests])
        return {key.removeprefix(f"{name}/"): file for key, file in rows.items()}

    async def build(self, name: str, version: str) -> Build | None:
        """None: it is not there, or damaged."""
        return Build.found(await self._row("builds", f"{name}/{version}"))

    async def weights(self, name: str, version: str) -> Weights | None:
        """None: they are not there, or damaged."""
        row = await self._row("weights", f"{name}/{version}")
        return None if row is None else await asyncio.to_thread(Weights.from_bytes, row)

    async def keep(
        self, name: str, pointer: Pointer, definition: bytes, images: Mapping[str, bytes], announced: Build
    ) -> None:
        """From now on this is the definition of its name. If others put it at the same time, the last is kept.

        The same definition again is written again: so a damaged row is mended. `images`: by their SHA-256.
        `announced`: if nothing is known of its build yet.
        """
        build = f"{name}/{pointer.pays_for}"
        rows: dict[Key, bytes] = {("images", f"{name}/{image}"): file for image, file in images.items()}
        rows["definitions", f"{name}/{pointer.digest}"] = definition
        if Build.found(await self._row("builds", build)) is None:
            rows["builds", build] = announced.to_bytes()
        rows["sets", name] = pointer.to_bytes()
        await self._store.put(rows)
        # It is kept by now; what is left is found the next time, or when the former definition can be read.
        with suppress(StoreUnavailable, ValueError):
            await self._drop_superseded(name, pointer)

    async def report(self, name: str, version: str, build: Build, weights: Weights | None) -> None:
        """How far a build is. If the set was replaced or deleted meanwhile, nothing of it is left behind."""
        key = f"{name}/{version}"
        rows: dict[Key, bytes] = {("builds", key): build.to_bytes()}
        if weights:
            rows["weights", key] = await asyncio.to_thread(weights.to_bytes)
        await self._store.put(rows)
        left_behind = not build.of_file
        while left_behind:
            revision = await self.revision()
            pointer = Pointer.found(await self._row("sets", name))
            if pointer and build.digest in (pointer.digest, pointer.previous):
                return
            left_behind = not await self._store.delete([("builds", key), ("weights", key)], revision)

    async def forget(self, name: str) -> bool:
        """Delete all of a label set; False: there is none."""
        while True:
            revision = await self.revision()
            if await self._row("sets", name) is None:
                return False
            if await self._store.delete([("sets", name), *await self._records(name)], revision):
                return True

    async def collect(self, name: str, digest: str, version: str) -> None:
        """Delete what no pointer leads to; to be called when this version of this definition is built.

        A definition that is put meanwhile still needs what was before it: then nothing is deleted, and the build of
        that one calls this again. It is decided anew if anything has changed since it was.
        """
        collected = False
        while not collected:
            revision = await self.revision()
            row = await self._row("sets", name)
            kept = {f"{name}/{version}"}
            if row is not None:  # else the set is a file, and has no definition in the store
                pointer = Pointer.found(row)
                if pointer is None or pointer.digest != digest:
                    return
                kept |= await self._of_definition(name, digest)
            records = await self._records(name)
            kept |= await self._versions([of for kind, of in records if kind == "builds"], digest)
            unused = [key for key in records if key[1] not in kept]
            collected = not unused or await self._store.delete(unused, revision)

    async def _drop_superseded(self, name: str, pointer: Pointer) -> None:
        """Delete definitions that were replaced before they were built, and their images."""
        dropped = False
        while not dropped:
            revision = await self.revision()
            if Pointer.found(await self._row("sets", name)) != pointer:
                return
            kept: set[str] = set()
            for digest in filter(None, (pointer.digest, pointer.previous)):
                kept |= await self._of_definition(name, digest)
            unused = [
                key for key in await self._records(name, ("definitions", "images")) if key[1] not in kept
            ]
            dropped = not unused or await self._store.delete(unused, revision)

    async def drop_orphans(self, files: Collection[str]) -> None:
        """Delete what a gateway that was killed has left of sets that are gone. `files`: names of those in files.

        Another gateway's files may be others; their builds say so.
        """
        dropped = False
        while not dropped:
            revision = await self.revision()
            builds = await self._store.get("builds", await self._store.names("builds"))
            of_files = [name for name, row in builds.items() if (build := Build.found(row)) and build.of_file]
            kept = {*await self._store.names("sets"), *files, *map(_set_of, of_files)}
            unused = [key for key in await self._records() if _set_of(key[1]) not in kept]
            dropped = not unused or await self._store.delete(unused, revision)

    async def aclose(self) -> None:
        """Give back connections."""
        await self._store.aclose()

    async def _of_definition(self, name: str, digest: str) -> set[str]:
        """The names of its row, and of those of its images. Raises ValueError: it is damaged."""
        definition = await self.definition(name, digest)
        return {f"{name}/{each}" for each in (digest, *(definition.examples if definition else ()))}

    async def _records(self, name: str | None = None, kinds: tuple[Kind, ...] = _RECORDS) -> list[Key]:
        """All rows of a label set but its pointer; without a name, of all of them."""
        return [
            (kind, each)
            for kind in kinds
            for each in await self._store.names(kind)
            if name is None or _set_of(each) == name
        ]

    async def _versions(self, names: list[str], digest: str) -> set[str]:
        """The newest builds, and before all others those of this definition that are under way."""
        found = []
        for name, row in (await self._store.get("builds", names)).items():
            build = Build.found(row)
            if build and (build.built is not None or build.digest == digest):
                found.append((float("inf") if build.built is None else build.built, name))
        return {name for _, name in sorted(found, reverse=True)[:_VERSIONS]}

    async def _row(self, kind: Kind, name: str) -> bytes | None:
        return (await self._store.get(kind, [name])).get(name)


def _set_of(record: str) -> str:
    """The name of the label set that a row other than a pointer belongs to."""
    return record.partition("/")[0]
