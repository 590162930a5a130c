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
_OFF_UNIT = 1e-3  # a length further from 1 is damage
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
        self.damages: list[int] = []  # ids of rows that the last search left out
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
        """Raises IndexUnusable: the rows are of another fingerprint or dimension, so cannot be compared."""
        if self.facts and self.facts[1:] != facts[1:]:
            raise IndexUnusable(
                f"{self.path} has vectors of {self.facts.fingerprint} ({self.facts.embed_dim} numbers), and the "
                f"model makes those of {facts.fingerprint} ({facts.embed_dim}), which cannot be compared. Use the "
                "former model and settings (CLIPSERVE_BACKEND=auto may have chosen another engine: name one), or "
                "delete it and embed again."
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
                yield Row._make((*fields, np.frombuffer(vector, "<f4") if self._whole(vector) else None))

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
        with self._used():
            for ids, matrix in self._sound():
                numbers.append(ids)
                # Not @: the last bit of its sums depends on how many rows there are, so equal rows would differ.
                cosines.append(np.vecdot(matrix, query))
            cosine = np.concatenate(cosines)
            best = np.argsort(-cosine, kind="stable")[:most]
            name = "SELECT name FROM items WHERE id = ?"
            chosen = np.concatenate(numbers)[best].tolist()
            names = [self._execute(name, (number,)).fetchone() for number in chosen]
        return [Found(row[0], float(cosine[at])) for row, at in zip(names, best, strict=True) if row]

    def damaged(self) -> list[str]:
        """Names of rows whose vector is not finite, of unit length or of the index's dimension. It reads all."""
        with self._used():
            sum(len(ids) for ids, _ in self._sound())
            chosen = ", ".join(map(str, self.damages))
            every = f"SELECT name FROM items WHERE id IN ({chosen})"  # noqa: S608
            return [str(row[0]) for row in self._execute(every)] if chosen else []

    def _sound(self) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Ids [N] and vectors [N, D] of the rows that are not damaged; it notes the others in `damages`."""
        self.damages, every = [], "SELECT id, vector FROM items WHERE vector IS NOT NULL ORDER BY id"
        rows = self._execute(every) if self.facts else None
        while rows and (some := rows.fetchmany(_CHUNK)):
            whole = [row for row in some if self._whole(row[1])]
            ids = np.array([row[0] for row in whole], np.int64)
            matrix = np.frombuffer(b"".join(row[1] for row in whole), "<f4").reshape(
                len(ids), -1 if whole else 0
            )
            with np.errstate(all="ignore"):
                good = np.abs(np.sqrt(np.vecdot(matrix, matrix)) - 1) < _OFF_UNIT  # false for NaN
            if not good.all() or len(whole) < len(some):
                ids, matrix = ids[good], matrix[good]
                self.damages += sorted({row[0] for row in some} - set(ids.tolist()))
            if len(ids):
                yield ids, matrix

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

    def _whole(self, vector: object) -> bool:
        return isinstance(vector, bytes) and len(vector) == 4 * (self.facts.embed_dim if self.facts else 0)

    def _facts(self) -> Facts | None:
        (version,) = self._execute("PRAGMA user_version").fetchone()
        if not version and not self._execute("SELECT 1 FROM sqlite_master").fetchone():
            return None
        if version != _VERSION:
            advice = "Name another file, or delete an old index."
            raise IndexUnusable(f"{self.path} is no index of this version of clipserve. {advice}")
        if not (about := self._execute("SELECT * FROM about").fetchone()):
            raise sqlite3.DatabaseError("it does not say which model made it")
        return Facts(*about)

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
            advice = "Name another file; `clipserve embed --rebuild` sets one aside that is damaged."
            if name == "SQLITE_FULL":
                advice = "Free some space (ENOSPC); the same command goes on."
            raise IndexUnusable(f"{self.path} cannot be used: {error}. {advice}") from None
