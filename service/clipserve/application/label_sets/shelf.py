"""Reads and writes the records of label sets in a store, and deletes those that no pointer refers to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from clipserve.application.label_sets.definition import Definition
from clipserve.application.label_sets.records import Build, Pointer, Weights
from clipserve.application.label_sets.store import Key, Kind, Store

_RECORDS: tuple[Kind, ...] = ("definitions", "images", "builds", "weights")
# In the middle of an upgrade there are two fingerprints, after it was taken back perhaps three.
_VERSIONS = 3


class Shelf:
    """The records of one store. All methods raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pointers(self) -> dict[str, Pointer | None]:
        """The pointers by the names of their sets. None: a pointer is damaged."""
        rows = await self._store.get("sets", await self._store.names("sets"))
        return {name: Pointer.found(row) for name, row in rows.items()}

    async def definition(self, name: str, digest: str) -> Definition:
        """A stored definition. Raises ValueError: it is missing or damaged."""
        row = await self._row("definitions", f"{name}/{digest}")
        if row is None:
            raise ValueError("there is no such definition")
        return await asyncio.to_thread(Definition.from_bytes, row)

    async def images(self, name: str, digests: Iterable[str]) -> dict[str, bytes]:
        """The stored images among these, by their SHA-256."""
        rows = await self._store.get("images", [f"{name}/{digest}" for digest in digests])
        return {key.removeprefix(f"{name}/"): file for key, file in rows.items()}

    async def build(self, name: str, version: str) -> Build | None:
        """The row of a build. None: it is missing or damaged."""
        return Build.found(await self._row("builds", f"{name}/{version}"))

    async def weights(self, name: str, version: str, definition: Definition, dim: int) -> Weights | None:
        """The stored embeddings. None: they are missing, damaged or do not fit the definition: build them again."""
        row = await self._row("weights", f"{name}/{version}")
        weights = None if row is None else await asyncio.to_thread(Weights.from_bytes, row)
        return weights if weights and weights.fit(definition, dim) else None

    async def keep(
        self, name: str, pointer: Pointer, definition: bytes, images: Mapping[str, bytes], announced: Build
    ) -> None:
        """Store a definition under its name. Of concurrent calls the last wins.

        The rows of an equal definition are written again, which repairs damaged ones. `images`: by their SHA-256.
        `announced`: the row of the build, written if there is none.
        """
        build = f"{name}/{pointer.pays_for}"
        rows: dict[Key, bytes] = {("images", f"{name}/{image}"): file for image, file in images.items()}
        rows["definitions", f"{name}/{pointer.digest}"] = definition
        if Build.found(await self._row("builds", build)) is None:
            rows["builds", build] = announced.to_bytes()
        rows["sets", name] = pointer.to_bytes()
        await self._store.put(rows)

    async def drop_unused(self, name: str, used: Collection[str], built: str | None = None) -> None:
        """Delete the definitions and images that are not in `used`; if a version is `built`, older embeddings too.

        If the pointer refers to another definition by now, nothing is deleted: the put of that one calls this too.
        """

        async def unused() -> list[Key]:
            row = await self._row("sets", name)
            if row is not None:  # else the set is a file
                pointer = Pointer.found(row)
                if pointer is None or not {pointer.digest, None if built else pointer.previous} <= {
                    *used,
                    None,
                }:
                    return []
            records = await self._records(name, _RECORDS if built else ("definitions", "images"))
            kept = {f"{name}/{each}" for each in (*used, built)} | await self._newest(records, used)
            return [key for key in records if key[1] not in kept]

        await self._delete(unused)

    async def report(self, name: str, version: str, build: Build, weights: Weights | None) -> None:
        """Store the progress of a build. If the set was replaced or deleted meanwhile, delete its rows."""
        key = f"{name}/{version}"
        rows: dict[Key, bytes] = {("builds", key): build.to_bytes()}
        if weights:
            rows["weights", key] = await asyncio.to_thread(weights.to_bytes)
        await self._store.put(rows)

        async def left_behind() -> list[Key]:
            pointer = Pointer.found(await self._row("sets", name))
            wanted = pointer and build.digest in (pointer.digest, pointer.previous)
            return [] if wanted else [("builds", key), ("weights", key)]

        if not build.of_file:
            await self._delete(left_behind)

    async def forget(self, name: str) -> bool:
        """Delete all rows of a label set. False: there is no such set."""

        async def everything() -> list[Key]:
            if await self._row("sets", name) is None:
                return []
            return [("sets", name), *await self._records(name)]

        return await self._delete(everything)

    async def drop_orphans(self, files: Collection[str]) -> None:
        """Delete the rows that a killed gateway left of deleted sets. `files`: the names of sets in files.

        Another gateway may have other files; rows of `builds` with `of_file` protect their sets.
        """

        async def orphans() -> list[Key]:
            builds = await self._store.get("builds", await self._store.names("builds"))
            of_files = [name for name, row in builds.items() if (build := Build.found(row)) and build.of_file]
            kept = {*await self._store.names("sets"), *files, *map(_set_of, of_files)}
            return [key for key in await self._records() if _set_of(key[1]) not in kept]

        await self._delete(orphans)

    async def _delete(self, unused: Callable[[], Awaitable[list[Key]]]) -> bool:
        """Delete these rows, decided again if anything has changed since they were. False: there are none."""
        while True:
            revision = await self._store.revision()
            keys = await unused()
            if not keys or await self._store.delete(keys, revision):
                return bool(keys)

    async def _records(self, name: str | None = None, kinds: tuple[Kind, ...] = _RECORDS) -> list[Key]:
        """All rows of a label set but its pointer; without a name, of all of them."""
        return [
            (kind, each)
            for kind in kinds
            for each in await self._store.names(kind)
            if name is None or _set_of(each) == name
        ]

    async def _newest(self, records: list[Key], used: Collection[str]) -> set[str]:
        """Of the builds among them the newest, and before all others those that are under way of what is used."""
        found = []
        rows = await self._store.get("builds", [name for kind, name in records if kind == "builds"])
        for name, row in rows.items():
            build = Build.found(row)
            if build and (build.finished or build.digest in used):
                found.append((build.until if build.finished else float("inf"), name))
        return {name for _, name in sorted(found, reverse=True)[:_VERSIONS]}

    async def _row(self, kind: Kind, name: str) -> bytes | None:
        return (await self._store.get(kind, [name])).get(name)


def _set_of(record: str) -> str:
    """The name of the label set that a row other than a pointer belongs to."""
    return record.partition("/")[0]
