"""What a file of vectors holds, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clipserve.commands.vectors.listing import Kind, text_of

if TYPE_CHECKING:  # loaded when a command writes a file
    import sqlite3

CHUNK = 1_024  # rows that are in memory at a time
_SHOWN_FAILURES = 20


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


class Finished:
    """The rows of a file that is to be written, read again for each array, a piece at a time.

    Attributes:
        count: rows; `failed`: of these, without a vector; `others`: not named by this run, from an earlier one.
        embedded: by this run, without those that have failed.
        failures: the first that have failed: name, code, detail.
    """

    def __init__(self, database: sqlite3.Connection, facts: Facts, run: int, embedded: int) -> None:
        self.facts = facts
        self.embedded = embedded
        self._database = database
        (self.count,) = self._one("count(*) FROM ordered")
        (self.others,) = self._one("count(*) FROM ordered JOIN rows USING (id) WHERE run != ?", run)
        (self.failed,) = self._one("count(*) FROM ordered JOIN rows USING (id) WHERE code != ''")
        first = next(self.chunks("key, code, detail", "code != ''"), [])[:_SHOWN_FAILURES]
        self.failures = [(self.name(key), code, detail) for key, code, detail in first]

    def chunks(self, columns: str, where: str = "true") -> Iterator[list[tuple[Any, ...]]]:
        """These columns of `rows` (and `vector`, `place`), so many rows at a time, in order."""
        query = (
            f"SELECT {columns} FROM ordered CROSS JOIN rows USING (id) LEFT JOIN vectors USING (id) WHERE {where} "  # noqa: S608
            "ORDER BY place"
        )
        with closing(self._database.execute(query)) as cursor:
            while rows := cursor.fetchmany(CHUNK):
                yield rows

    def name(self, key: str) -> str:
        """What the file calls a row."""
        return text_of(key) if self.facts.kind == "text" else key

    def _one(self, query: str, *values: int) -> tuple[int, ...]:
        found: tuple[int, ...] = self._database.execute(f"SELECT {query}", values).fetchone()
        return found
