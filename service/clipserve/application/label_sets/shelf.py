"""The rows of label sets in a store.

    sets          name           Pointer: the wanted definition, and the former one
    definitions   name           the wanted Definition
    formers       name           the Definition that is served until the wanted one is built; empty: none
    images        name           the files of the wanted definition's examples, each behind its length
    vectors       version/part   the embeddings of a part of a definition
    uses          version        Use: what these embeddings are for, and when they were last used

The first four are a label set. They are written and deleted together, and a definition or an image is what the
pointer names only if its digest says so: another gateway may replace the set between two reads.

The other two are a cache. A version belongs to a definition and to a model's fingerprint, and with the part it
determines the embeddings. So any gateway may write them, twice changes nothing, and what is lost is made again.
Gateways with different models, or in the middle of an upgrade, share one store: each has its own versions.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self

from pydantic import BaseModel

from clipserve.application.label_sets.definition import Definition, digest_of
from clipserve.application.label_sets.parts import Part, PartEmbeddings
from clipserve.application.label_sets.store import Key, Kind, Store

_DAY = 86_400.0  # seconds
_UNUSED_SECONDS = 7 * _DAY
_LENGTH = 8  # bytes of the length of an image
_OF_A_SET: tuple[Kind, ...] = ("sets", "definitions", "formers", "images")


class _Row(BaseModel, frozen=True):
    """A row as JSON. Reading ignores unknown fields, which a later version of the service may have added."""

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()

    @classmethod
    def found(cls, stored: bytes | None) -> Self | None:
        """Parse a row. None: the row is missing or damaged."""
        try:
            return None if stored is None else cls.model_validate_json(stored)
        except ValueError:
            return None


class Pointer(_Row):
    """The definition of a label set's name.

    Attributes:
        digest: of the wanted definition.
        former: the digest of the definition that is served until the wanted one is built.
        size: the bytes of the set when it is built.
        put: the time of the put, seconds since 1970.
        payer: the SHA-256 of the key that put it, and pays for the build of the version `pays_for` only.
    """

    digest: str
    former: str | None
    size: int
    put: float = 0.0
    payer: str | None = None
    pays_for: str = ""


class Use(_Row):
    """What the embeddings of a version are for. `digest`: of their definition; None: of a file, without a pointer.

    `last`: the time when a gateway last had them, to a day, in seconds since 1970.
    """

    digest: str | None
    last: float


class Shelf:
    """The rows of one store. All methods raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pointers(self) -> dict[str, Pointer | None]:
        """The pointers by the names of their sets. None: a pointer is damaged."""
        rows = await self._store.get("sets", await self._store.names("sets"))
        return {name: Pointer.found(row) for name, row in rows.items()}

    async def definition(self, name: str, digest: str, *, former: bool = False) -> Definition:
        """The wanted definition, or the former one. Raises ValueError: it is missing, damaged or another by now."""
        row = (await self._store.get(kind := "formers" if former else "definitions", [name])).get(name, b"")

        def parsed() -> Definition:
            if digest_of(row) != digest:
                raise ValueError(f"the row of {kind} is not what the pointer names")
            return Definition.from_bytes(row)

        return await asyncio.to_thread(parsed)

    async def images(self, name: str) -> dict[str, bytes]:
        """The stored examples by their SHA-256; of damaged ones this is another."""
        row = (await self._store.get("images", [name])).get(name, b"")
        return await asyncio.to_thread(
            lambda: {hashlib.sha256(file).hexdigest(): file for file in _split(row)}
        )

    async def keep(
        self,
        name: str,
        pointer: Pointer,
        definition: bytes,
        former: Definition | None,
        images: Iterable[bytes],
    ) -> None:
        """Store a label set. Of concurrent calls the last wins."""
        former_row = await asyncio.to_thread(former.to_bytes) if former else b""  # weights may be megabytes
        lengths_and_files = [part for file in images for part in (len(file).to_bytes(_LENGTH), file)]
        await self._store.put(
            {
                ("sets", name): pointer.to_bytes(),
                ("definitions", name): definition,
                ("formers", name): former_row,
                ("images", name): b"".join(lengths_and_files),
            }
        )

    async def forget(self, name: str) -> bool:
        """Delete a label set. False: there is no such set."""
        return await self._store.delete([(kind, name) for kind in _OF_A_SET])

    async def embeddings(self, version: str, parts: Sequence[Part], dim: int) -> dict[Part, PartEmbeddings]:
        """The stored embeddings of these parts, without those that are missing or damaged."""
        rows = await self._store.get("vectors", [f"{version}/{part.name}" for part in parts])

        def parsed() -> dict[Part, PartEmbeddings]:
            stored = ((part, rows.get(f"{version}/{part.name}", b"")) for part in parts)
            found = ((part, PartEmbeddings.from_bytes(row, part, dim)) for part, row in stored)
            return {part: embeddings for part, embeddings in found if embeddings}

        return await asyncio.to_thread(parsed)

    async def add(self, version: str, digest: str | None, part: Part, embeddings: PartEmbeddings) -> None:
        """Store the embeddings of a part. `digest`: see `Use`."""
        use = Use(digest=digest, last=time.time())
        row = await asyncio.to_thread(embeddings.to_bytes)
        await self._store.put({("vectors", f"{version}/{part.name}"): row, ("uses", version): use.to_bytes()})

    async def sweep(self, served: Mapping[str, str | None]) -> None:
        """Delete the embeddings that belong to no pointer's definition, or that no gateway has used for a week.

        `served`: the versions that are used here, with the digests of their uses. It may delete embeddings of a set
        that is being put again: they are a cache.
        """
        now, vectors = time.time(), await self._store.names("vectors")
        rows = await self._store.get("uses", await self._store.names("uses"))
        uses = {version: use for version, row in rows.items() if (use := Use.found(row))}
        daily = {
            version: Use(digest=digest, last=now)
            for version, digest in served.items()
            if version not in uses or uses[version].last < now - _DAY
        }
        if daily:
            await self._store.put({("uses", version): use.to_bytes() for version, use in daily.items()})
        # Later than the embeddings, which are later than their pointer. One that cannot be read may name any.
        pointers = (await self.pointers()).values()
        named = {digest for pointer in pointers if pointer for digest in (pointer.digest, pointer.former)}
        needed = {
            version
            for version, use in (uses | daily).items()
            if use.last > now - _UNUSED_SECONDS
            and (use.digest is None or use.digest in named or None in pointers)
        }
        unused: list[Key] = [("uses", version) for version in rows if version not in needed]
        unused += [("vectors", name) for name in vectors if name.partition("/")[0] not in needed]
        if unused:
            await self._store.delete(unused)


def _split(row: bytes) -> Iterator[bytes]:
    """The files of a row of `images`."""
    start = 0
    while start < len(row):
        end = start + _LENGTH + int.from_bytes(row[start : start + _LENGTH])
        yield row[start + _LENGTH : end]
        start = end
