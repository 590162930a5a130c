"""The rows of label sets in a store.

    sets      name                  Pointer, and behind it the definitions and the examples
    vectors   digest.version.part   the time when it was written, and the embeddings of a part of a definition

A row of `sets` is a label set. The others are a cache. A version belongs to a definition and to a model's
fingerprint, and with the part it determines the embeddings. So any gateway may write them, twice changes nothing,
and what is lost is made again. Gateways with different models, or in the middle of an upgrade, share one store:
each has its own versions.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Collection, Sequence
from typing import Self

from pydantic import BaseModel, Field

from clipserve.application.label_sets.definition import Contents, Definition
from clipserve.application.label_sets.parts import Part, PartEmbeddings
from clipserve.application.label_sets.store import Store

_OLD_SECONDS = 30 * 86_400
_LENGTH = 8  # bytes of the length of a file in a body


class Pointer(BaseModel, frozen=True):
    """What a label set's name stands for. Reading ignores unknown fields, which a later version may have added.

    Attributes:
        digest: of the wanted definition.
        former: the digest of the definition that is served until the wanted one is built.
        size: the bytes of the set when it is built.
        put: the time of the put, seconds since 1970.
        payer: the SHA-256 of the key that put it, and pays for the build of the version `pays_for` only.
        checksum: the SHA-256 of the row's body.
    """

    digest: str
    former: str | None = None
    size: int = Field(0, ge=0, le=2**53)
    put: float = 0.0
    payer: str | None = None
    pays_for: str = ""
    checksum: str = ""

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode()

    @classmethod
    def found(cls, head: bytes) -> Self | None:
        """Parse the head of a row. None: it is damaged."""
        try:
            return cls.model_validate_json(head)
        except ValueError:
            return None


class Shelf:
    """The rows of one store. All methods raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def pointers(self) -> dict[str, Pointer | None]:
        """The pointers by the names of their sets. None: a pointer is damaged."""
        return {name: Pointer.found(head) for name, head in (await self._store.heads("sets")).items()}

    async def contents(self, name: str, pointer: Pointer) -> Contents:
        """What this pointer is for. Raises ValueError: it is missing, damaged or another by now."""
        body = (await self._store.bodies("sets", [name])).get(name, b"")
        return await asyncio.to_thread(_parsed, body, pointer)

    async def keep(self, name: str, pointer: Pointer, contents: Contents) -> Pointer:
        """Store a label set; return the pointer with its checksum. Of concurrent calls the last wins."""
        body, checksum = await asyncio.to_thread(_packed, contents)  # weights may be megabytes
        pointer = pointer.model_copy(update={"checksum": checksum})
        await self._store.put("sets", name, pointer.to_bytes(), body)
        return pointer

    async def forget(self, name: str) -> bool:
        """Delete a label set. False: there is no such set."""
        return await self._store.delete("sets", [name])

    async def embeddings(
        self, digest: str, version: str, parts: Sequence[Part], dim: int
    ) -> dict[Part, PartEmbeddings]:
        """The stored embeddings of these parts, without those that are missing or damaged."""
        rows = await self._store.bodies("vectors", [_name(digest, version, part) for part in parts])

        def parsed() -> dict[Part, PartEmbeddings]:
            stored = ((part, rows.get(_name(digest, version, part), b"")) for part in parts)
            found = ((part, PartEmbeddings.from_bytes(row, part, dim)) for part, row in stored)
            return {part: embeddings for part, embeddings in found if embeddings}

        return await asyncio.to_thread(parsed)

    async def add(self, digest: str, version: str, part: Part, embeddings: PartEmbeddings) -> None:
        """Store the embeddings of a part."""
        body = await asyncio.to_thread(embeddings.to_bytes)
        await self._store.put("vectors", _name(digest, version, part), b"%d" % time.time(), body)

    async def sweep(self, needed: Collection[str]) -> None:
        """Delete the embeddings of no pointer's definition, and those that are old, but for what is needed here.

        `needed`: versions that are served or built. It may delete what another gateway needs at its next start:
        embeddings are a cache.
        """
        rows = await self._store.heads("vectors")
        # Later than the embeddings, which are later than their pointer. One that cannot be read may name any.
        pointers = (await self.pointers()).values()
        named = {digest for pointer in pointers if pointer for digest in (pointer.digest, pointer.former)}
        unused = []
        for name, head in rows.items():
            digest, version, _ = (*name.split("."), "", "")[:3]
            written = int(head) if head.isdigit() else 0
            if version not in needed and (
                written < time.time() - _OLD_SECONDS or (digest not in named and None not in pointers)
            ):
                unused.append(name)
        if unused:
            await self._store.delete("vectors", unused)


def _name(digest: str, version: str, part: Part) -> str:
    return f"{digest}.{version}.{part.start}-{part.stop}"


def _packed(contents: Contents) -> tuple[bytes, str]:
    """The definition, the former one or nothing, and each example, all behind their lengths; and a checksum."""
    former = contents.former.to_bytes() if contents.former else b""
    files = [contents.definition.to_bytes(), former, *contents.images.values()]
    body = b"".join(part for file in files for part in (len(file).to_bytes(_LENGTH), file))
    return body, hashlib.sha256(body).hexdigest()


def _parsed(body: bytes, pointer: Pointer) -> Contents:
    if hashlib.sha256(body).hexdigest() != pointer.checksum:
        raise ValueError("the row is not what the pointer names")
    files, start = list[bytes](), 0
    while start < len(body):
        end = start + _LENGTH + int.from_bytes(body[start : start + _LENGTH])
        files.append(body[start + _LENGTH : end])
        start = end
    definition, former, *examples = files
    return Contents(
        Definition.from_bytes(definition),
        pointer.digest,
        {hashlib.sha256(file).hexdigest(): file for file in examples},
        len(body),
        Definition.from_bytes(former) if former else None,
    )
