"""Where label sets are kept: rows of bytes, changed together or not at all.

What the rows mean is not the store's affair (`label_sets.records` knows). So every store is short, and all that can
go wrong between two gateways is decided in one place, with `expected`.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Literal, Protocol

Kind = Literal["sets", "definitions", "images", "builds", "weights"]
Key = tuple[Kind, str]

NOTHING: Mapping[Key, bytes | None] = MappingProxyType({})


class Store(Protocol):
    """Rows by kind and name. A name may hold any characters; a value has up to some tens of megabytes.

    All methods raise StoreUnavailable if the store cannot be reached, read or written.
    """

    async def revision(self) -> int:
        """A number that is another one after each change, by whichever process. Asked several times a second."""

    async def names(self, kind: Kind) -> list[str]:
        """Of all rows of this kind."""

    async def rows(self, kind: Kind) -> dict[str, bytes]:
        """All rows of this kind, by name."""

    async def get(self, key: Key) -> bytes | None:
        """The value of a row, or None."""

    async def change(
        self,
        puts: Mapping[Key, bytes],
        deletes: Collection[Key] = (),
        *,
        expected: Mapping[Key, bytes | None] = NOTHING,
    ) -> bool:
        """Write and delete these rows in one step: a reader, or a start after a crash, finds all of it or nothing.

        `expected`: what these rows must hold (None: they are not there). If one does not, nothing is changed and
        the result is False.
        """

    async def aclose(self) -> None:
        """Give back connections and files."""


def name_bytes(name: str) -> bytes:
    """A row's name as stores write it: UTF-8, and half of a surrogate pair is not an error."""
    return name.encode("utf-8", "surrogatepass")


def name_of(stored: bytes) -> str:
    """The name again. One that is damaged is another name, and not the end of all."""
    try:
        return stored.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return stored.decode("utf-8", "backslashreplace")


def revision_step() -> int:
    """What a change adds to the revision: 1 to 2**31, at random.

    With steps of 1, a store that was emptied, or put back from a copy, would come to numbers again that stood for
    other rows. The revision stays below 2**63 for four billion changes at least.
    """
    return secrets.randbelow(2**31) + 1
