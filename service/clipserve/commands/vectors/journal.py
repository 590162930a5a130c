"""The journal of an embedding run, beside the future file, from which an interrupted command resumes.

It is an SQLite database in WAL mode: changes are appended to `.journal-wal` with checksums, and opening the journal
drops a record that was torn when the process was killed. Nothing is held in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from clipserve.client.results import ServedBy
from clipserve.commands.vectors.files import Columns, Facts, Finished, VectorFileError, open_vectors
from clipserve.commands.vectors.listing import Item, Kind
from clipserve.engine.backend import Vector

_SUFFIXES = ("", "-wal", "-shm", "-journal")
_LOCK = ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "COMMIT")
_BEGIN = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "BEGIN IMMEDIATE")
_VERSION = 2  # of the schema
_SCHEMA = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE about (kind TEXT, model TEXT, fingerprint TEXT, embed_dim INTEGER, run INTEGER);
CREATE TABLE rows (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, run INTEGER NOT NULL, position INTEGER NOT NULL,
    size INTEGER NOT NULL, modified INTEGER NOT NULL, width INTEGER NOT NULL DEFAULT 0,
    height INTEGER NOT NULL DEFAULT 0, code TEXT, detail TEXT NOT NULL DEFAULT ''
);
CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL);
"""  # rows.code: NULL without an outcome, then '' or the code of an error
# Adds an item to a run; changes nothing if the run has it already. Done is what has a vector, and whose file is as
# it was.
_EXPECT = """
INSERT INTO rows (key, run, position, size, modified) VALUES (:key, :run, :position, :size, :modified)
ON CONFLICT (key) DO UPDATE SET run = :run, position = :position, size = :size, modified = :modified,
    code = CASE WHEN code = '' AND size = :size AND modified = :modified THEN '' END
WHERE run != :run
"""
State = Literal["new", "done", "again"]  # `again`: a duplicate of this run


class Journal:
    """A journal, open until `close`, in one process at a time. `fresh`: there was none before."""

    def __init__(self, out: Path, kind: Kind, served_by: ServedBy, *, restart: bool = False) -> None:
        """Open the journal of an earlier run, or a new one with the rows of `out`. `restart`: an empty one.

        Raises:
            VectorFileError: the journal, or `out`, cannot be used, or its vectors cannot be compared with those of
                `served_by`; the message says why.
        """
        self._path = out.with_name(f"{out.name}.journal")
        self.fresh = not self._path.exists()
        self._embedded = 0
        self._facts = Facts(kind, served_by.model, served_by.fingerprint, served_by.embed_dim)
        try:
            self._database = self._emptied() if restart else _locked(self._path)
            self._begin(None if restart or not out.exists() else out)
        except sqlite3.Error as error:
            raise VectorFileError(_cannot_use(self._path, error)) from None
        except VectorFileError:
            self._database.rollback()
            self.close(keep=not self.fresh)
            raise

    def _execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        return self._database.execute(statement, values)

    def _emptied(self) -> sqlite3.Connection:
        """The journal without rows. It is not removed before its lock is held: a command that runs may have it."""
        try:
            database = _locked(self._path)
            for table in ("about", "rows", "vectors"):
                database.execute(f"DROP TABLE IF EXISTS {table}")
        except sqlite3.DatabaseError as error:
            if not _is_damaged(error):
                raise
            for suffix in _SUFFIXES:
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return _locked(self._path)
        return database

    def _begin(self, out: Path | None) -> None:
        """Begin the journal in one transaction, so completely or not at all."""
        if not self._execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
            for statement in _SCHEMA.split(";\n")[:-1]:
                self._execute(statement)
            if out is not None:
                with open_vectors(out) as (facts, batches):
                    _check(facts, self._facts, out)
                    self._take(batches)
            self._execute("INSERT INTO about VALUES (?, ?, ?, ?, 0)", self._facts)
        if self._execute("PRAGMA user_version").fetchone() != (_VERSION,):
            raise VectorFileError(f"{self._path} is of another version of clipserve. Start over: --restart.")
        *kept, self._run = self._execute("SELECT * FROM about").fetchone()
        _check(Facts(*kept), self._facts, self._path)
        self._run += 1
        self._execute("UPDATE about SET run = ?", (self._run,))

    def _take(self, batches: Iterable[Columns]) -> None:
        rows = chain.from_iterable(zip(*batch, strict=True) for batch in batches)
        for position, (name, width, height, vector, code, detail, size, modified) in enumerate(rows):
            key = f"{position}:{name}" if self._facts.kind == "text" else name
            added = self._execute(
                "INSERT INTO rows (key, run, position, size, modified, width, height, code, detail) "
                "VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?)",
                (key, position, size, modified, width, height, code, detail),
            )
            if not code:
                self._store(added.lastrowid, vector)

    def expect(self, item: Item, position: int) -> tuple[State, int]:
        """Add an item to this run at this position; return its state, `new` if it must be embedded, and its number.

        An item whose file has changed is new, and so is one that failed.
        """
        values = {"key": item.key, "size": item.size, "modified": item.modified}
        if not self._execute(_EXPECT, values | {"run": self._run, "position": position}).rowcount:
            return "again", 0
        number, code = self._execute("SELECT id, code FROM rows WHERE key = ?", (item.key,)).fetchone()
        return ("new" if code is None else "done"), number

    def keep(self, number: int, size: tuple[int, int], vector: Vector) -> None:
        """Store the vector of an item."""
        self._embedded += 1
        self._execute(
            "UPDATE rows SET width = ?, height = ?, code = '', detail = '' WHERE id = ?", (*size, number)
        )
        self._store(number, vector)

    def fail(self, number: int, code: str, detail: str) -> None:
        """Store the error of an item."""
        self._execute(
            "UPDATE rows SET width = 0, height = 0, code = ?, detail = ? WHERE id = ?", (code, detail, number)
        )
        self._execute("DELETE FROM vectors WHERE id = ?", (number,))

    def commit(self) -> None:
        """Commit, so that the stored outcomes survive a crash."""
        self._execute("COMMIT")
        self._execute("BEGIN IMMEDIATE")

    def finish(self, *, prune: bool) -> Finished:
        """All rows in order: those of earlier runs alone, unless `prune`, then those of this run."""
        self._execute("CREATE TEMP TABLE ordered (place INTEGER PRIMARY KEY, id INTEGER)")
        self._execute(
            "INSERT INTO ordered (id) "
            "SELECT id FROM rows WHERE code IS NOT NULL AND run >= ? ORDER BY run, position",
            (self._run if prune else 0,),
        )
        return Finished(self._database, self._facts, self._run, self._embedded)

    def close(self, *, keep: bool = True) -> None:
        """Close the journal. `keep` it for the next run, or delete it while nobody else can hold its lock."""
        if self._database.in_transaction:
            self._execute("COMMIT")
        if not keep:
            with suppress(sqlite3.Error):  # SQLite removes its log now: later it would be another journal's
                self._execute("PRAGMA journal_mode = DELETE")
            self._path.unlink(missing_ok=True)
        self._database.close()

    def _store(self, number: int | None, vector: Vector) -> None:
        self._execute(
            "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
            (number, vector.astype("<f4", copy=False).tobytes()),
        )


def _locked(path: Path) -> sqlite3.Connection:
    """The database, in a transaction; no other process can open it until it is closed."""
    while True:
        file = _inode(path)
        database = sqlite3.connect(path, timeout=1.0, isolation_level=None)
        try:
            for statement in _LOCK:
                database.execute(statement)
            if file and file == _inode(path):  # else it is new, or who had it has removed it
                for statement in _BEGIN:
                    database.execute(statement)
                return database
        except sqlite3.Error:
            if file == _inode(path):
                database.close()
                raise
        database.close()


def _inode(path: Path) -> int | None:
    """The number of the file; None: there is none."""
    with suppress(OSError):
        return path.stat().st_ino
    return None


def _is_damaged(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT")


def _check(facts: Facts, wanted: Facts, path: Path) -> None:
    if facts == wanted:
        return
    if facts.kind != wanted.kind:
        raise VectorFileError(
            f"{path} has vectors of {facts.kind}s, not of {wanted.kind}s. Choose another --out."
        )
    raise VectorFileError(
        f"{path} has vectors of {facts.fingerprint}, and the model makes those of {wanted.fingerprint}. Vectors of "
        "two fingerprints cannot be compared, so no file ever has both. Use the former model and settings "
        "(CLIPSERVE_BACKEND=auto may have chosen another engine: name one), choose another --out, or embed "
        "everything again with --restart."
    )


def _cannot_use(path: Path, error: sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
        return f"{path} is in use: another command writes the same file now."
    if _is_damaged(error):
        return f"{path} is not a journal, or is damaged. Start over: --restart."
    return f"{path} cannot be written: {error}. The journal lies beside --out."
