"""The contents of a file of vectors, for every format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clipserve.commands.vectors.listing import Kind, text_of

if TYPE_CHECKING:  # imported when a command writes a file
    import sqlite3

CHUNK = 1_024  # rows in memory at a time
_SHOWN_FAILURES = 20


class VectorFileError(Exception):
    """A file of vectors, or its journal, cannot be used; the message says why, and what to do."""


class OtherVectors(VectorFileError):
    """The file's vectors cannot be compared with those of the model."""


class Facts(NamedTuple):
    """The facts that hold for all rows of a file."""

    kind: Kind
    model: str
    fingerprint: str
    embed_dim: int


class Columns(NamedTuple):
    """Some rows, as columns.

    Attributes:
        names: paths of images, or texts.
        sizes: (width, height) of an image in pixels.
        vectors: float32 [n, D]; zeros in a failed row.
        codes, details: the error of a failed row, else "".
        bytes, modified: of the file, the latter in nanoseconds since 1970.
    """

    names: Sequence[str]
    sizes: Sequence[tuple[int, int]]
    vectors: npt.NDArray[np.float32]
    codes: Sequence[str]
    details: Sequence[str]
    bytes: Sequence[int]
    modified: Sequence[int]


class OpenFile(NamedTuple):
    """A file of vectors, open for reading: all its rows, in order."""

    facts: Facts
    batches: Iterator[Columns]


class Finished:
    """The rows of a file to write, read again in pieces for each array.

    Attributes:
        count: rows; `failed`: those without a vector; `others`: those of earlier runs that are not in this one.
        embedded: rows that this run has embedded.
        failures: name, code and detail of the first failed rows.
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
        """These columns of `rows` (and `vector`, `place`), in pieces, in order."""
        query = (
            f"SELECT {columns} FROM ordered CROSS JOIN rows USING (id) LEFT JOIN vectors USING (id) WHERE {where} "  # noqa: S608
            "ORDER BY place"
        )
        with closing(self._database.execute(query)) as cursor:
            while rows := cursor.fetchmany(CHUNK):
                yield rows

    def name(self, key: str) -> str:
        """The name of a row in the file: its path or its text."""
        return text_of(key) if self.facts.kind == "text" else key

    def _one(self, query: str, *values: int) -> tuple[int, ...]:
        found: tuple[int, ...] = self._database.execute(f"SELECT {query}", values).fetchone()
        return found
