"""Label sets in a folder, for the services of one machine.

Each row is a file, which a change replaces as a whole, so that nothing is ever half written and no process waits
for another. A deletion needs no space, so it succeeds on a full disk.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from clipserve.application.label_sets.store import Failures, Kind
from clipserve.files import replacing, sync_folder
from clipserve.telemetry.log import logger

T = TypeVar("T")

FOLDER = "label-sets"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEAD = 65_536  # bytes, at most
_TICK = 100_000_000  # ns; several times that of clocks of file systems
_ABANDONED_SECONDS = 3_600.0  # after the last write of a file that was to become a row
_ADVICE = (
    "Label sets cannot be read or changed: CLIPSERVE_STATE_DIR must be a folder on a local disk with free "
    "space, which the service may read and write."
)


class FileStore:
    """A `Store` in `label-sets/`, which any number of processes may use."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the first put makes it."""
        self._folder = folder.absolute() / FOLDER
        self._skipped: set[Path] = set()
        self._reading, self._changing = Failures(OSError, _ADVICE), Failures(OSError, _ADVICE)

    async def revision(self) -> str:
        return await self._call(self._reading, self._revision)

    async def heads(self, kind: Kind) -> dict[str, bytes]:
        return await self._call(self._reading, lambda: dict(self._heads(kind)))

    async def bodies(self, kind: Kind, names: Collection[str]) -> dict[str, bytes]:
        return await self._call(self._reading, lambda: dict(self._bodies(kind, names)))

    async def put(self, kind: Kind, name: str, head: bytes, body: bytes = b"") -> None:
        await self._call(self._changing, lambda: self._put(kind, name, head, body))

    async def delete(self, kind: Kind, names: Collection[str]) -> bool:
        return await self._call(self._changing, lambda: self._delete(kind, names))

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _call(self, failures: Failures, function: Callable[[], T]) -> T:
        with failures.translated():
            return await asyncio.to_thread(function)

    def _revision(self) -> str:
        """The time of the folder, which each put and each deletion changes."""
        try:
            stat = (self._folder / "sets").stat()
        except FileNotFoundError:
            return ""
        # The next change within a tick of the clock would have the same time.
        now, changed = time.time_ns(), stat.st_mtime_ns
        return f"{stat.st_ino} {changed if abs(now - changed) > _TICK else now}"

    def _heads(self, kind: Kind) -> Iterator[tuple[str, bytes]]:
        with suppress(FileNotFoundError):  # nothing was put yet
            for path in (self._folder / kind).iterdir():
                with suppress(FileNotFoundError):  # it was just deleted
                    if not path.is_file():  # a pipe would be waited for
                        self._skip(path)
                    elif _NAME.fullmatch(path.name):
                        with path.open("rb") as file:
                            yield path.name, file.readline(_HEAD).rstrip(b"\n")
                    elif path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                        with suppress(OSError):  # of a process that was killed; who reads may not write here
                            path.unlink()

    def _skip(self, path: Path) -> None:
        if path not in self._skipped and path.exists():  # else it was just deleted
            self._skipped.add(path)
            logger.warning("label_set_store_skips", path=str(path), hint="it is no file: remove it")

    def _bodies(self, kind: Kind, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        for name in names:
            with suppress(FileNotFoundError):
                yield name, (self._folder / kind / name).read_bytes().partition(b"\n")[2]

    def _put(self, kind: Kind, name: str, head: bytes, body: bytes) -> None:
        folder = self._folder / kind
        for made in (self._folder.parent, self._folder, folder):
            if not made.is_dir():
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(made.parent)
        with replacing(folder / name) as file:
            file.writelines((head, b"\n", body))

    def _delete(self, kind: Kind, names: Collection[str]) -> bool:
        deleted = False
        for name in names:
            with suppress(FileNotFoundError):
                (self._folder / kind / name).unlink()
                deleted = True
        if deleted:
            sync_folder(self._folder / kind)
        return deleted
