"""What a file of vectors holds, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

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


class Columns(NamedTuple):
    """So many rows, column by column.

    Attributes:
        names: the path of an image, or the text.
        sizes: (width, height) of an image in pixels.
        vectors: float32 [n, D]; zeros in a row that has failed.
        codes, details: why a row has failed; "" where it has a vector.
        bytes, modified: of its file, the latter in nanoseconds since 1970.
    """

    names: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    vectors: npt.NDArray[np.float32]
    codes: Sequence[str]
    details: Sequence[str]
    bytes: Sequence[int]
    modified: Sequence[int]


class OpenFile(NamedTuple):
    """A file of vectors that is open to be read: all its rows, in order."""

    facts: Facts
    batches: Iterator[Columns]
