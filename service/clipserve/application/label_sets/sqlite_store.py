"""Label sets in an SQLite file, for the services of one machine.

SQLite makes changes atomic, also across a crash, and serializes processes. Two rules are ours. The first put makes
the file, so that a service without label sets leaves none. Each call checks whether the open file is still the one
at the path, so that a file that was moved away or restored is noticed.

A deletion needs disk space for the journal, so on a full disk nothing could be deleted. A second file therefore
reserves some space, and is removed for the deletion.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from clipserve.application.label_sets.store import Failures, Key, Kind, revision_step
from clipserve.concurrency import DaemonExecutor
from clipserve.errors import StoreUnavailable

T = TypeVar("T")

FILE = "label-sets.sqlite"

_BUSY_SECONDS = 2.0  # to wait for another process; a change of some tens of megabytes takes less
_SCHEMA_VERSION = 2
# Not WITHOUT ROWID: then the index of the primary key would hold the values too, and names are read from it alone.
_SCHEMA = (
    "CREATE TABLE rows (kind TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, name))",
    "CREATE TABLE revision (number INTEGER NOT NULL)",
    "INSERT INTO revision VALUES (0)",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_REVISION = "SELECT number FROM revision"
_COUNT = "UPDATE revision SET number = number + ?"
_RESERVE = 1_000_000  # bytes: the journal of a deletion has some pages for each thousand that become free
_WAITED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_SPOILT = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the first: no such table
# The latter two: of a journal.
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


class OtherSchema(Exception):
    """The file was written by another version of the service. `newer`: by a later one."""

    def __init__(self, found: int) -> None:
        super().__init__(f"its schema has version {found}, and {_SCHEMA_VERSION} is known")
        self.newer = found > _SCHEMA_VERSION


class SqliteStore:
    """A `Store` in `label-sets.sqlite`, which any number of processes of one machine may open."""

    def __init__(self, folder: Path) -> None:
        """`folder`: on a local disk. The first put makes it and the file."""
        self._path = folder.absolute() / FILE
        self._reserve = self._path.with_suffix(".reserve")
        self._thread = DaemonExecutor(1, "label-sets")  # whatever follows is of this thread alone
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._inode: tuple[int, int] | None = None  # of the file that is connected
        kinds = (sqlite3.Error, OSError, OtherSchema)
        self._reading, self._changing = Failures(kinds, _advice), Failures(kinds, _advice)

    async def revision(self) -> int:
        found = await self._select(_REVISION, [()])
        return int(found[0][0]) if found else 0

    async def names(self, kind: Kind) -> list[str]:
        return [name for (name,) in await self._select("SELECT name FROM rows WHERE kind = ?", [(kind,)])]

    async def get(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        query = "SELECT name, value FROM rows WHERE kind = ? AND name = ?"
        return dict(await self._select(query, [(kind, name) for name in names]))

    async def put(self, rows: Mapping[Key, bytes]) -> None:
        await self._call(self._changing, self._put, rows)

    async def delete(self, keys: Collection[Key]) -> bool:
        return await self._call(self._changing, self._delete, keys)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._in_thread(self._close)  # after the calls that have begun
            self._thread.shutdown()

    async def _select(self, query: str, parameters: Sequence[tuple[str, ...]]) -> list[tuple[Any, ...]]:
        return await self._call(self._reading, self._selected, query, parameters)

    async def _call(self, failures: Failures, function: Callable[..., T], *args: object) -> T:
        if self._closed:
            raise StoreUnavailable("Label sets cannot be read or changed any more: this process is ending.")
        with failures.translated():
            return await self._in_thread(function, *args)

    def _in_thread(self, function: Callable[..., T], *args: object) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    def _selected(self, query: str, parameters: Sequence[tuple[str, ...]]) -> list[tuple[Any, ...]]:
        with suppress(FileNotFoundError), self._transaction("BEGIN") as connection:  # rows of one moment
            return [row for each in parameters for row in connection.execute(query, each)]
        return []

    def _put(self, rows: Mapping[Key, bytes]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self._path.touch(mode=0o600, exist_ok=False)  # SQLite gives its journals the same mode
        with self._transaction("BEGIN IMMEDIATE", _SCHEMA) as connection:
            values = [(*key, value) for key, value in rows.items()]
            connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", values)
            connection.execute(_COUNT, (revision_step(),))
        self._keep_reserve()

    def _delete(self, keys: Collection[Key]) -> bool:
        try:
            deleted = self._deleted(keys)
        except (sqlite3.Error, OSError) as error:
            if _code_of(error) not in _NO_ROOM or not self._reserve.exists():
                raise
            self._reserve.unlink(missing_ok=True)
            deleted = self._deleted(keys)
        self._keep_reserve()
        return deleted

    def _deleted(self, keys: Collection[Key]) -> bool:
        with suppress(FileNotFoundError), self._transaction("BEGIN IMMEDIATE") as connection:
            count = connection.executemany("DELETE FROM rows WHERE kind = ? AND name = ?", keys).rowcount
            connection.execute(_COUNT, (revision_step(),))
            return count > 0
        return False

    @contextmanager
    def _transaction(self, begin: str, schema: Sequence[str] = ()) -> Iterator[sqlite3.Connection]:
        """Committed at the end, or rolled back: then the next call connects again.

        `schema` makes the tables if there are none. Raises FileNotFoundError: there is no file, or no tables.
        """
        try:
            connection = self._connected()
            if begin != "BEGIN":
                _use_wal(connection)
            connection.execute(begin)
            if not _version(connection):
                if not schema:
                    raise FileNotFoundError
                for statement in schema:
                    connection.execute(statement)
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            self._close()
            raise

    def _connected(self) -> sqlite3.Connection:
        found = self._path.stat()
        if self._inode != (found.st_dev, found.st_ino):
            self._close()
        if self._connection is None:
            self._connection = _connect(self._path)
            self._inode = (found.st_dev, found.st_ino)
        return self._connection

    def _close(self) -> None:
        """The last connection of all processes moves what is in the journal into the file."""
        connection, self._connection, self._inode = self._connection, None, None
        if connection:
            with suppress(sqlite3.Error):
                connection.close()

    def _keep_reserve(self) -> None:
        if not self._path.exists() or self._reserve.exists():
            return
        try:
            self._reserve.touch(mode=0o600)
            self._reserve.write_bytes(bytes(_RESERVE))
        except OSError:  # there is no room for it now
            self._reserve.unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    # As a URI: mode=rw does not make a file. Transactions are begun and ended here, not by Python's module.
    address = f"{path.as_uri()}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    # A name that is damaged is another name, and not the end of all.
    connection.text_factory = lambda name: name.decode("utf-8", "backslashreplace")
    connection.execute("PRAGMA synchronous = FULL")  # a change that was answered is on the disk
    connection.execute("PRAGMA secure_delete = FAST")  # or free pages are written, to the journal first
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Readers then do not wait for a writer. It is kept in the file, so that only the first change alters anything.

    If another connection is about to write, SQLite does not wait with this one, but says at once that it is busy.
    """
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code_of(error) not in _WAITED or time.monotonic() > until:
                raise
        time.sleep(0.005)


def _version(connection: sqlite3.Connection) -> int:
    """Of the schema; 0: there are no tables yet. Raises OtherSchema."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version not in (0, _SCHEMA_VERSION):
        raise OtherSchema(version)
    return version


def _code_of(error: Exception) -> int:
    """SQLite's, without its finer distinctions; 0 for an error that is not SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _advice(error: Exception) -> str:
    if isinstance(error, OtherSchema):
        writer = "a newer" if error.newer else "an older"
        remedy = "start that one" if error.newer else f"move {FILE} away and put the label sets again"
        return (
            f"The label sets in CLIPSERVE_STATE_DIR were written by {writer} version of clipserve, and cannot be "
            f"read by this one: {remedy}, or choose another folder."
        )
    code = _code_of(error)
    if code in _WAITED:
        return (
            f"Other processes have been changing the label sets in CLIPSERVE_STATE_DIR for {_BUSY_SECONDS:g} s: "
            "ask again."
        )
    if code in _SPOILT:
        return (
            "The file of label sets in CLIPSERVE_STATE_DIR is damaged or no such file: put a copy of it in its "
            "place, or move it away and put the label sets again."
        )
    return (
        "Label sets cannot be read or changed: CLIPSERVE_STATE_DIR must be a folder on a local disk with free "
        "space, which the service may read and write."
    )
