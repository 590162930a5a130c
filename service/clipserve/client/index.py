"""Vectors of files in one SQLite file, which is index and journal: a run that ended early goes on from it.

One process writes at a time and commits each second; others read meanwhile. There is no write-ahead log: it needs
shared memory, which network file systems do not have.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from clipserve.client.errors import ClipserveError

_VERSION = 0x434C_0003  # in the header of the file: "CL", and the version of the schema
_CHUNK = 4_096  # rows in memory at a time
_SECONDS = 60.0  # for another process's commit, or a reader's search
_SCHEMA = (
    f"PRAGMA user_version = {_VERSION}",
    "CREATE TABLE about (model TEXT, fingerprint TEXT, embed_dim INTEGER)",
    "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size INTEGER, modified INTEGER, "
    "width INTEGER, height INTEGER, code TEXT, detail TEXT, vector BLOB)",
)


class IndexUnusable(ClipserveError):
    """The index cannot be used, perhaps with this model; the message says what to do."""

    default_code: ClassVar[str] = "index_unusable"


class IndexInUse(IndexUnusable):
    """Another process writes the index now."""


class Facts(NamedTuple):
    """What holds for all rows."""

    model: str
    fingerprint: str
    embed_dim: int


class Row(NamedTuple):
    """An item and its outcome: a vector, or an error."""

    name: str  # the path of an image, PATH#t=SECONDS of a frame
    size: int  # bytes of the file
    modified: int  # nanoseconds since 1970
    width: int = 0  # pixels
    height: int = 0
    code: str = ""  # of the error; empty with a vector
    detail: str = ""
    vector: npt.NDArray[np.float32] | None = None  # [D]


_FIELDS = ", ".join(Row._fields)
_VALUES = ", ".join(f":{name}" for name in Row._fields)
# A row that is replaced keeps its place.
_REPLACED = ", ".join(f"{name} = excluded.{name}" for name in Row._fields[1:])
_STORE = f"INSERT INTO items ({_FIELDS}) VALUES ({_VALUES}) ON CONFLICT (name) DO UPDATE SET {_REPLACED}"  # noqa: S608


class Found(NamedTuple):
    name: str
    cosine: float  # with the query


class Index:
    """The index at `path`, until `close`. Threads may share it.

    `facts`: of the rows; None: there is no index yet, and `begin` makes one. Methods raise IndexUnusable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: Facts | None = None
        self._lock = threading.RLock()
        self._writes = False
        self._database: sqlite3.Connection | None = None
        if path.exists():
            self._connect()

    def begin(self, facts: Facts) -> None:
        """Become the one process that writes. Raises IndexInUse: another one does; IndexUnusable: see `check`."""
        with self._used():
            if self._writes:
                return
            if self._database is None:
                self._connect()
            self._execute("PRAGMA busy_timeout = 0")
            try:
                self._execute("BEGIN IMMEDIATE")
            finally:  # who cannot write goes on reading, and waits for commits
                self._execute(f"PRAGMA busy_timeout = {_SECONDS * 1_000:.0f}")
            self.facts = self._facts()  # another process may have begun it meanwhile
            if self.facts is None:
                for statement in _SCHEMA:
                    self._execute(statement)
                self._execute("INSERT INTO about VALUES (?, ?, ?)", facts)
                self.facts = facts
            self._commit()
            self._writes = True
        self.check(facts)

    def check(self, facts: Facts) -> None:
        """Raises IndexUnusable: the rows are of another fingerprint, so cannot be compared."""
        if self.facts and self.facts.fingerprint != facts.fingerprint:
            raise IndexUnusable(
                f"{self.path} has vectors of {self.facts.fingerprint}, and the model makes those of "
                f"{facts.fingerprint}, which cannot be compared. Use the former model and settings "
                "(CLIPSERVE_BACKEND=auto may have chosen another engine: name one), or delete it and embed again."
            )

    def known(self) -> dict[str, tuple[int, int, str]]:
        """Size, time and code of each item, by name: some 300 bytes of memory each. See `Row`."""
        with self._used():
            rows = self._execute("SELECT name, size, modified, code FROM items") if self.facts else ()
            return {row[0]: row[1:] for row in rows}

    def store(self, rows: Iterable[Row]) -> None:
        """Add or replace rows, and commit: they survive a crash."""
        with self._used():
            for row in rows:
                vector = None if row.vector is None else row.vector.astype("<f4", copy=False).tobytes()
                self._execute(_STORE, row._asdict() | {"vector": vector})
            self._commit()

    def drop(self, names: Iterable[str]) -> None:
        """Remove rows, and commit."""
        with self._used():
            for name in names:
                self._execute("DELETE FROM items WHERE name = ?", (name,))
            self._commit()

    def rows(self, where: str = "true") -> Iterator[Row]:
        """The rows, in their first order. `where`: a condition in SQL. Who writes waits until they are read."""
        with self._used():
            for *fields, vector in self._execute(f"SELECT {_FIELDS} FROM items WHERE {where} ORDER BY id"):  # noqa: S608
                yield Row._make((*fields, None if vector is None else np.frombuffer(vector, "<f4")))

    def count(self, where: str = "true") -> int:
        """How many rows there are. `where`: as for `rows`."""
        with self._used():
            count = self.facts and self._execute(f"SELECT count(*) FROM items WHERE {where}").fetchone()[0]  # noqa: S608
        return count or 0

    def nearest(self, query: npt.NDArray[np.float32], most: int) -> list[Found]:
        """At most `most` rows, nearest first; rows with the same cosine in the order of the index.

        `query`: float32 [D], of unit length, as all vectors are. It compares all rows: a search is exact.
        """
        numbers, cosines = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
        every = "SELECT id, vector FROM items WHERE vector IS NOT NULL ORDER BY id"
        with self._used():
            rows = self._execute(every) if self.facts else None
            while rows and (some := rows.fetchmany(_CHUNK)):
                ids, vectors = zip(*some, strict=True)
                numbers.append(np.array(ids))
                # Not @: the last bit of its sums depends on how many rows there are, so equal rows would differ.
                matrix = np.frombuffer(b"".join(vectors), "<f4").reshape(len(ids), -1)  # [N, D]
                cosines.append(np.vecdot(matrix, query))
            cosine = np.concatenate(cosines)
            best = np.argsort(-cosine, kind="stable")[:most]
            name = "SELECT name FROM items WHERE id = ?"
            chosen = np.concatenate(numbers)[best].tolist()
            names = [self._execute(name, (number,)).fetchone() for number in chosen]
        return [Found(row[0], float(cosine[at])) for row, at in zip(names, best, strict=True) if row]

    def close(self) -> None:
        """Close it. What was stored stays."""
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database, self._writes = None, False

    def _connect(self) -> None:
        with self._used():
            options: Any = {"isolation_level": None, "check_same_thread": False}
            self._database = sqlite3.connect(self.path, _SECONDS, **options)
            self._execute("PRAGMA page_size = 16384")  # several vectors on each, of a new index
            self.facts = self._facts()

    def _facts(self) -> Facts | None:
        (version,) = self._execute("PRAGMA user_version").fetchone()
        if not version and not self._execute("SELECT 1 FROM sqlite_master").fetchone():
            return None
        if version != _VERSION:
            raise IndexUnusable(
                f"{self.path} is no index of this version of clipserve. Name another file, or delete an old index."
            )
        return Facts(*self._execute("SELECT * FROM about").fetchone())

    def _execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        assert self._database is not None
        return self._database.execute(statement, values)

    def _commit(self) -> None:
        self._execute("COMMIT")
        self._execute("BEGIN IMMEDIATE")

    @contextmanager
    def _used(self) -> Iterator[None]:
        """By one thread at a time. Raises IndexUnusable for errors of SQLite."""
        try:
            with self._lock:
                yield
        except (sqlite3.Error, ValueError, TypeError) as error:
            name = getattr(error, "sqlite_errorname", "")
            if name.startswith("SQLITE_BUSY"):
                raise IndexInUse(f"{self.path} is in use: another command writes it now.") from None
            raise IndexUnusable(
                f"{self.path} cannot be used: {error}. Name another file; delete an index that is damaged."
            ) from None
