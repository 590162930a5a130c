"""Files of vectors: their contents, and how they are opened and written by their suffix.

A format is a module beside this one with the name of its suffix: `opened`, `read_facts`, `read_rows`, `write`, and
`DAMAGED`, what the first three may raise besides OSError, ValueError and KeyError.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clipserve.commands.vectors.listing import Kind, text_of
from clipserve.engine.backend import Vector
from clipserve.files import sync_folder

if TYPE_CHECKING:  # imported when a command writes a file
    import sqlite3

SUFFIXES = (".npz", ".parquet")
CHUNK = 1_024  # rows in memory at a time
FAILED = "code != ''"  # a condition of `Finished.chunks`
_SHOWN_FAILURES = 20


class VectorFileError(Exception):
    """A file of vectors, or its journal, cannot be used, perhaps with this model; the message says what to do."""


class Facts(NamedTuple):
    """The facts that hold for all rows of a file."""

    kind: Kind
    model: str
    fingerprint: str
    embed_dim: int

    @property
    def named_by(self) -> str:
        """The column of the file with the names of the rows."""
        return "text" if self.kind == "text" else "path"


class Columns(NamedTuple):
    """Some rows, as columns.

    Attributes:
        names: paths of images, or texts.
        widths, heights: of an image in pixels.
        vectors: float32 [n, D]; zeros in a failed row.
        codes, details: the error of a failed row, else "".
        bytes, modified: of the file, the latter in nanoseconds since 1970.
    """

    names: Sequence[str]
    widths: Sequence[int]
    heights: Sequence[int]
    vectors: npt.NDArray[np.float32]
    codes: Sequence[str]
    details: Sequence[str]
    bytes: Sequence[int]
    modified: Sequence[int]


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
        database.create_function("named", 1, text_of if facts.kind == "text" else str)
        database.create_function("characters", 1, len)  # SQLite's own `length` ends at a NUL
        failed = f"count(*) FILTER (WHERE {FAILED})"
        counts = next(self.chunks(f"count(*), count(*) FILTER (WHERE run != {run}), {failed}"))
        ((self.count, self.others, self.failed),) = counts
        self.failures = next(self.chunks("named(key), code, detail", FAILED), [])[:_SHOWN_FAILURES]

    def chunks(self, columns: str, where: str = "true") -> Iterator[list[tuple[Any, ...]]]:
        """Rows of these columns, in pieces, in order: those of `rows`, `vector` and `place`, which counts from 1.

        `named(key)` is the name of a row in the file: its path or its text. `characters(text)` is a length.
        """
        query = (
            f"SELECT {columns} FROM ordered CROSS JOIN rows USING (id) LEFT JOIN vectors USING (id) WHERE {where} "  # noqa: S608
            "ORDER BY place"
        )
        with closing(self._database.execute(query)) as cursor:
            while rows := cursor.fetchmany(CHUNK):
                yield rows


def format_of(path: Path) -> ModuleType:
    """The module that reads and writes files of this suffix; parquet needs pyarrow.

    Raises:
        VectorFileError: the suffix is unknown, or its package is not installed.
    """
    if path.suffix not in SUFFIXES:
        raise VectorFileError(f"{path}: a file of vectors ends with {' or '.join(SUFFIXES)}.")
    try:
        return import_module(f"clipserve.commands.vectors.{path.suffix[1:]}")
    except ImportError:
        if path.suffix != ".parquet":
            raise
        raise VectorFileError(
            f"{path}: Parquet needs pyarrow, which is not installed: pip install "
            "'clipserve-core[parquet]', or choose a name with .npz."
        ) from None


@contextmanager
def open_vectors(path: Path) -> Iterator[tuple[Facts, Iterator[Columns]]]:
    """Open a file of vectors for reading: what holds for all rows, and the rows in order.

    Raises:
        VectorFileError: see `format_of`; it is not a file of vectors, or is damaged.
    """
    kind = format_of(path)
    try:
        with kind.opened(path) as file:
            facts = kind.read_facts(file)
            yield facts, kind.read_rows(file, facts)
    except (OSError, ValueError, KeyError, *kind.DAMAGED) as error:
        raise VectorFileError(f"{path} is not a file of vectors, or is damaged: {error}") from None


def write_vectors(path: Path, table: Finished) -> None:
    """Write the file and replace an existing one atomically.

    Raises:
        OSError: for example, the disk is full.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            format_of(path).write(file, table)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    with suppress(OSError):  # a user may be allowed to write in a folder that he cannot read
        sync_folder(path.parent)


class Found(NamedTuple):
    """A row, and its cosine with the query."""

    name: str
    cosine: float


def facts_of(path: Path) -> Facts:
    """The facts of a file. Raises VectorFileError: it is not a file of vectors."""
    with open_vectors(path) as (facts, _):
        return facts


def nearest(path: Path, query: Vector, most: int) -> list[Found]:
    """At most `most` rows, nearest first; rows with the same cosine in the order of the file.

    `query`: float32 [D], of unit length, as all vectors are.

    Raises:
        VectorFileError: it is not a file of vectors, or is damaged.
    """
    with open_vectors(path) as (_, batches):
        found = (
            Found(name, cosine)
            for batch in batches
            for name, cosine, code in zip(
                batch.names, (batch.vectors @ query).tolist(), batch.codes, strict=True
            )
            if not code
        )
        return heapq.nlargest(most, found, key=lambda row: row.cosine)
