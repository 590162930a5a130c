"""The file of label sets, for one thread of a process.

SQLite does what is hard: a change is whole or not there, also after a crash, and processes take turns. Two rules
are ours. Nothing is made before the first change, so that a service without label sets leaves no file. And each
call looks whether the file is still the one that is open: one that was moved away or put back is noticed.

To delete takes room too, for the journal: on a disk that is full nothing could be deleted to make room. So a file
beside it keeps a little in reserve, which is given up for that.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clipserve.application.label_sets.store import Key, name_bytes, name_of, revision_step

BUSY_SECONDS = 2.0  # to wait for another process; a change of some tens of megabytes takes less
_PAUSE_SECONDS = 0.005
_SCHEMA_VERSION = 1
# Not WITHOUT ROWID: then the index of the primary key would hold the values too, and names are read from it alone.
_SCHEMA = (
    "CREATE TABLE rows (kind TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, name))",
    "CREATE TABLE revision (number INTEGER NOT NULL)",
    "INSERT INTO revision VALUES (0)",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
ONE = "kind = ? AND name = CAST(? AS TEXT)"  # bytes: Python refuses half of a surrogate pair in a text
_RESERVE = 1_000_000  # bytes: the journal of a deletion has some pages for each thousand that become free
_NO_ROOM = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
)  # the latter two: of a journal
WAITED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class NewerSchema(Exception):
    """The file was written by a later version of the service."""


class SqliteFile:
    """The file and a connection to it, both used by one thread. After an error the next call connects anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reserve = path.with_suffix(".reserve")
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None  # of the file that is connected

    def select(self, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._closed_on_error():
            connection = self._connected()
            if connection is None:
                return []
            connection.execute("BEGIN")  # version and rows of one moment
            found = connection.execute(query, parameters).fetchall() if _version(connection) else []
            connection.execute("COMMIT")
            return found

    def change(
        self, puts: Mapping[Key, bytes], deletes: Collection[Key], expected: Mapping[Key, bytes | None]
    ) -> bool:
        try:
            changed = self._change(puts, deletes, expected)
        except (sqlite3.Error, OSError) as error:
            if puts or code_of(error) not in _NO_ROOM or not self._reserve.exists():
                raise
            self._reserve.unlink(missing_ok=True)
            changed = self._change(puts, deletes, expected)
        self._keep_reserve()
        return changed

    def _keep_reserve(self) -> None:
        if not self._path.exists() or self._reserve.exists():
            return
        with suppress(OSError):
            try:
                self._reserve.touch(mode=0o600)
                self._reserve.write_bytes(bytes(_RESERVE))
            except OSError:  # there is no room for it now
                self._reserve.unlink(missing_ok=True)

    def _change(
        self, puts: Mapping[Key, bytes], deletes: Collection[Key], expected: Mapping[Key, bytes | None]
    ) -> bool:
        with self._closed_on_error():
            connection = self._connected()
            if connection is None:
                absent = all(value is None for value in expected.values())
                if not (puts and absent):
                    return absent  # no reason to make a file
                connection = self._made()
            _use_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            if not _version(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
            matches = all(_value(connection, key) == value for key, value in expected.items())
            if matches:
                _write(connection, puts, deletes)
            connection.execute("COMMIT" if matches else "ROLLBACK")
            return matches

    def close(self) -> None:
        """The last connection of all processes moves what is in the journal into the file."""
        connection, self._connection, self._inode = self._connection, None, None
        if connection:
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()  # and so a transaction that has begun is rolled back
            raise

    def _connected(self) -> sqlite3.Connection | None:
        """None: there is no file."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self.close()
            return None
        if self._inode != (found.st_dev, found.st_ino):
            self.close()
        if self._connection is None:
            self._connection = _connect(self._path)
            self._inode = (found.st_dev, found.st_ino)
        return self._connection

    def _made(self) -> sqlite3.Connection:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another process was faster
            self._path.touch(mode=0o600, exist_ok=False)  # SQLite gives its journals the same mode
        connection = self._connected()
        if connection is None:
            raise FileNotFoundError("the file was removed as soon as it was made")
        return connection


def _connect(path: Path) -> sqlite3.Connection:
    # As a URI: mode=rw does not make a file. Transactions are begun and ended here, not by Python's module.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    connection.text_factory = name_of
    connection.execute("PRAGMA synchronous = FULL")  # a change that was answered is on the disk
    connection.execute(
        "PRAGMA secure_delete = FAST"
    )  # or pages that become free are written, to the journal first
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Readers then do not wait for a writer. It is kept in the file, so that only the first change alters anything.

    If another connection is about to write, SQLite does not wait with this one, but says at once that it is busy.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if code_of(error) not in WAITED or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _version(connection: sqlite3.Connection) -> int:
    """Of the schema; 0: there are no tables yet."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > _SCHEMA_VERSION:
        raise NewerSchema(f"its schema has version {version}, and {_SCHEMA_VERSION} is known")
    return version


def _value(connection: sqlite3.Connection, key: Key) -> bytes | None:
    found = connection.execute(f"SELECT value FROM rows WHERE {ONE}", stored(key)).fetchone()  # noqa: S608
    return found[0] if found else None


def _write(connection: sqlite3.Connection, puts: Mapping[Key, bytes], deletes: Collection[Key]) -> None:
    connection.executemany(f"DELETE FROM rows WHERE {ONE}", map(stored, deletes))  # noqa: S608
    connection.executemany(
        "INSERT OR REPLACE INTO rows VALUES (?, CAST(? AS TEXT), ?)",
        ((*stored(key), value) for key, value in puts.items()),
    )
    connection.execute("UPDATE revision SET number = number + ?", (revision_step(),))


def stored(key: Key) -> tuple[str, bytes]:
    """Kind and name, for `ONE`."""
    kind, name = key
    return kind, name_bytes(name)


def code_of(error: Exception) -> int:
    """SQLite's, without its finer distinctions; 0 for an error that is not SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
