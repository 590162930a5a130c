"""What a file of vectors holds, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from clipserve.engine.backend import Vector

CHUNK = 1_024  # rows that are in memory at a time
Kind = Literal["image", "text"]


class VectorFileError(Exception):
    """A file of vectors, or its journal, cannot be used; the message says why, and what to do."""


class OtherVectors(VectorFileError):
    """Its vectors cannot be compared with those of the model."""


class Facts(NamedTuple):
    """What is the same for all rows of a file."""

    kind: Kind
    model: str
    fingerprint: str
    embed_dim: int


class Row(NamedTuple):
    """One image or text.

    `name`: its path, or the text. `size`: (width, height) in pixels. `vector`: float32 [D]; None: it failed, and
    `code` and `detail` say why. `bytes`, `modified`: of its file, the latter in nanoseconds since 1970.
    """

    name: str
    size: tuple[int, int]
    vector: Vector | None
    code: str
    detail: str
    bytes: int
    modified: int


@dataclass(frozen=True)
class Piece:
    """So many rows: names, [n]; vectors, float32 [n, D]; which of these are there, bool [n]."""

    names: list[str]
    vectors: npt.NDArray[np.float32]
    there: npt.NDArray[np.bool_]


class OpenFile(Protocol):
    """A file of vectors that is open to be read."""

    @property
    def facts(self) -> Facts:
        """Of all its rows."""

    def pieces(self) -> Iterator[Piece]:
        """What a search needs of all rows, in order."""

    def rows(self) -> Iterator[Row]:
        """All rows, in order."""


class Table(Protocol):
    """Rows that are to be written, read again for each array."""

    facts: Facts
    count: int

    def chunks(self, columns: str, where: str = "true") -> Iterator[list[tuple[Any, ...]]]:
        """These columns, so many rows at a time: place (from 1), key, width, height, size, modified, code, detail,
        vector (its bytes, or None)."""

    def rows(self) -> Iterator[list[Row]]:
        """The same as objects."""

    def name(self, key: str) -> str:
        """What the file calls the row of this key."""
