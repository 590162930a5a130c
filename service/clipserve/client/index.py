"""Vectors of files in one SQLite file, which is index and journal: a run that ended early goes on from it.

One process writes at a time and commits each second; others read meanwhile. There is no write-ahead log: it needs
shared memory, which network file systems do not have.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from clipserve.client.errors import ClipserveError

Kind = Literal["image", "text"]
_VERSION = 1  # of the schema
_APPLICATION = 0x434C_4950  # "CLIP", in the header of the file
_CHUNK = 4_096  # rows in memory at a time
_SECONDS = 60.0  # for another process's commit, or a reader's search
_SCHEMA = (
    *(f"DROP TABLE IF EXISTS {table}" for table in ("about", "items", "vectors")),
    f"PRAGMA user_version = {_VERSION}",
    f"PRAGMA application_id = {_APPLICATION}",
    "CREATE TABLE about (kind TEXT, model TEXT, fingerprint TEXT, embed_dim INTEGER)",
    "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size INTEGER, modified INTEGER, "
    "width INTEGER, height INTEGER, code TEXT, detail TEXT)",
    "CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
)
_FIELDS = ("name", "size", "modified", "width", "height", "code", "detail")
_STORE = (
    f"INSERT INTO items ({', '.join(_FIELDS)}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET "  # noqa: S608
    f"{', '.join(f'{field} = excluded.{field}' for field in _FIELDS[1:])} RETURNING id"
)


class IndexUnusable(ClipserveError):
    """The index cannot be used, perhaps with this model; the message says what to do."""

    default_code: ClassVar[str] = "index_unusable"


class IndexInUse(IndexUnusable):
    """Another process writes the index now."""


class Facts(NamedTuple):
    """What holds for all rows."""

    kind: Kind
    model: str
    fingerprint: str
    embed_dim: int


class Row(NamedTuple):
    """An item and its outcome: a vector, or an error.

    Attributes:
        name: the path of an image, `PATH#t=SECONDS` of a frame, `LINE:TEXT` of a text.
        size: bytes of the file; `modified`: nanoseconds since 1970. Both 0 of a text.
        width, height: of an image in pixels.
        code, detail: of the error; empty with a vector.
        vector: float32 [D]; None with an error.
    """

    name: str
    size: int
    modified: int
    width: int = 0
    height: int = 0
    code: str = ""
    detail: str = ""
    vector: npt.NDArray[np.float32] | None = None


class Known(NamedTuple):
    """What the index has of an item: its number, its file, and the code of its error."""

    number: int
    size: int
    modified: int
    code: str


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

    def begin(self, facts: Facts, *, restart: bool = False) -> None:
        """Become the one process that writes. `restart`: without the rows that are there.

        Raises:
            IndexInUse: another process writes.
            IndexUnusable: see `check`.
        """
        with self._used():
            if self._writes:
                return
            if self._database is None:
                self._connect()
            self._execute("PRAGMA busy_timeout = 0")
            self._execute("BEGIN IMMEDIATE")
            self._execute(f"PRAGMA busy_timeout = {_SECONDS * 1_000:.0f}")
            self.facts = None if restart else self._facts()  # another process may have begun it meanwhile
            if self.facts is None:
                for statement in _SCHEMA:
                    self._execute(statement)
                self._execute("INSERT INTO about VALUES (?, ?, ?, ?)", facts)
                self.facts = facts
            self._commit()
            self._writes = True
        self.check(facts)

    def check(self, facts: Facts) -> None:
        """Raises IndexUnusable: the rows are of another fingerprint, so cannot be compared, or of another kind."""
        if self.facts is None or self.facts == facts:
            return
        if self.facts.kind != facts.kind:
            what = f"{self.facts.kind}s, not of {facts.kind}s. Choose another --index."
        else:
            what = (
                f"{self.facts.fingerprint}, and the model makes those of {facts.fingerprint}, which cannot be "
                "compared. Use the former model and settings (CLIPSERVE_BACKEND=auto may have chosen another "
                "engine: name one), or embed everything again: `clipserve embed` with --restart."
            )
        raise IndexUnusable(f"{self.path} has vectors of {what}")

    def known(self, names: Iterable[str]) -> list[Known | None]:
        """What is known of each; None: it is new."""
        query = "SELECT id, size, modified, code FROM items WHERE name = ?"
        with self._used():
            found = [self.facts and self._execute(query, (name,)).fetchone() for name in names]
        return [row and Known(*row) for row in found]

    def vectors(self, numbers: Iterable[int]) -> list[npt.NDArray[np.float32]]:
        """float32 [D] of each number."""
        query = "SELECT vector FROM vectors WHERE id = ?"
        with self._used():
            return [np.frombuffer(self._execute(query, (number,)).fetchone()[0], "<f4") for number in numbers]

    def store(self, rows: Iterable[Row]) -> None:
        """Add or replace rows, and commit: they survive a crash."""
        with self._used():
            for *fields, vector in rows:
                (number,) = self._execute(_STORE, fields).fetchone()
                if vector is None:
                    self._execute("DELETE FROM vectors WHERE id = ?", (number,))
                else:
                    content = vector.astype("<f4", copy=False).tobytes()
                    self._execute("INSERT OR REPLACE INTO vectors VALUES (?, ?)", (number, content))
            self._commit()

    def numbers(self) -> dict[int, str]:
        """The number and the name of each row."""
        with self._used():
            return dict(self._execute("SELECT id, name FROM items")) if self.facts else {}

    def drop(self, numbers: Collection[int]) -> None:
        """Remove rows, and commit."""
        with self._used():
            for number in numbers:
                self._execute("DELETE FROM items WHERE id = ?", (number,))
                self._execute("DELETE FROM vectors WHERE id = ?", (number,))
            self._commit()

    def rows(self, where: str = "true") -> Iterator[Row]:
        """The rows: texts by their lines, images as they were first embedded. `where`: a condition in SQL.

        Other threads, and commits of another process, wait until they are read.
        """
        # A text's name begins with the number of its line.
        order = "CAST(name AS INTEGER)" if self.facts and self.facts.kind == "text" else "items.id"
        query = f"SELECT {', '.join(_FIELDS)}, vector FROM items LEFT JOIN vectors USING (id) "  # noqa: S608
        with self._used():
            for *fields, vector in self._execute(f"{query} WHERE {where} ORDER BY {order}"):
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
        with self._used():
            rows = self._execute("SELECT id, vector FROM vectors ORDER BY id") if self.facts else None
            while rows and (some := rows.fetchmany(_CHUNK)):
                ids, vectors = zip(*some, strict=True)
                numbers.append(np.array(ids))
                cosines.append(np.frombuffer(b"".join(vectors), "<f4").reshape(len(ids), -1) @ query)
            every, cosine = np.concatenate(numbers), np.concatenate(cosines)
            best = np.argsort(-cosine, kind="stable")[:most]
            name = "SELECT name FROM items WHERE id = ?"
            names = [self._execute(name, (number,)).fetchone() for number in every[best].tolist()]
        return [Found(row[0], float(cosine[at])) for row, at in zip(names, best, strict=True) if row]

    def close(self) -> None:
        """Close it. What was stored stays."""
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database, self._writes = None, False

    def _connect(self) -> None:
        with self._used():
            self._database = sqlite3.connect(
                self.path, timeout=_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._execute("PRAGMA page_size = 16384")  # several vectors on each, of a new index
            self.facts = self._facts()

    def _facts(self) -> Facts | None:
        (application,), (version,) = (
            self._execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        if not application and not self._execute("SELECT 1 FROM sqlite_master").fetchone():
            return None
        if (application, version) != (_APPLICATION, _VERSION):
            raise IndexUnusable(
                f"{self.path} is no index of this version of clipserve. Choose another --index, or delete it."
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
            what = "is no index, or is damaged. Delete it, and embed again."
            if name not in ("SQLITE_NOTADB", "SQLITE_CORRUPT", ""):
                what = f"cannot be used: {error}."
            raise IndexUnusable(f"{self.path} {what}") from None
