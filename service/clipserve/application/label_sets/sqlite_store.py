"""Label sets in a file, for the services of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from clipserve.application.label_sets.failures import Failures
from clipserve.application.label_sets.sqlite_file import (
    BUSY_SECONDS,
    ONE,
    WAITED,
    NewerSchema,
    SqliteFile,
    code_of,
    stored,
)
from clipserve.application.label_sets.store import NOTHING, Key, Kind
from clipserve.concurrency import DaemonExecutor
from clipserve.errors import StoreUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FILE = "label-sets.sqlite"

_SPOILT = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the first: no such table


class SqliteStore:
    """A `Store` in `label-sets.sqlite`, which any number of processes of one machine may have open.

    A change whose caller is cancelled may still be made.
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: on a local disk; it and the file are made at the first change."""
        self._file = SqliteFile(folder.absolute() / FILE)
        self._thread = DaemonExecutor(1, "label-sets")
        self._closed = False
        kinds = (sqlite3.Error, OSError, NewerSchema)
        self._reading, self._changing = Failures(kinds, _advice), Failures(kinds, _advice)

    async def revision(self) -> int:
        found = await self._select("SELECT number FROM revision")
        return int(found[0][0]) if found else 0

    async def names(self, kind: Kind) -> list[str]:
        return [name for (name,) in await self._select("SELECT name FROM rows WHERE kind = ?", kind)]

    async def rows(self, kind: Kind) -> dict[str, bytes]:
        found = await self._select("SELECT name, value FROM rows WHERE kind = ?", kind)
        return dict(found)

    async def get(self, key: Key) -> bytes | None:
        found = await self._select(f"SELECT value FROM rows WHERE {ONE}", *stored(key))  # noqa: S608
        return found[0][0] if found else None

    async def change(
        self,
        puts: Mapping[Key, bytes],
        deletes: Collection[Key] = (),
        *,
        expected: Mapping[Key, bytes | None] = NOTHING,
    ) -> bool:
        with self._changing.translated():
            return await self._call(self._file.change, puts, deletes, expected)

    async def aclose(self) -> None:
        if self._closed:
            return
        closing = self._call(self._file.close)  # after the calls that have begun
        self._closed = True
        try:
            await closing
        finally:
            del closing  # the rule of `del`
            self._thread.shutdown()

    async def _select(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._reading.translated():
            return await self._call(self._file.select, query, parameters)

    def _call(self, function: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        if self._closed:
            raise StoreUnavailable("Label sets cannot be read or changed any more: this process is ending.")
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *args)


def _advice(error: Exception) -> str:
    if isinstance(error, NewerSchema):
        return (
            "The label sets in CLIPSERVE_STATE_DIR were written by a newer version of clipserve: start that one, "
            "or choose another folder."
        )
    code = code_of(error)
    if code in WAITED:
        return (
            f"Other processes have been changing the label sets in CLIPSERVE_STATE_DIR for {BUSY_SECONDS:g} s: "
            "ask again."
        )
    if code in _SPOILT:
        return (
            "The file of label sets in CLIPSERVE_STATE_DIR is damaged or no such file: put a copy of it in its "
            "place, or move it away and store the label sets anew."
        )
    return (
        "Label sets cannot be read or changed: CLIPSERVE_STATE_DIR must be a folder on a local disk with free "
        "space, which the service may read and write."
    )
