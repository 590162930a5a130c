"""Where label sets are kept: files in a folder, or the same names and values in Redis (`redis_store`).

pets.json                the record of a label set that was put
pets.DIGEST.VERSION.npy  the embeddings of one of its definitions, for one fingerprint: a cache
pets.toml, pets.json     in a folder, a set that people write, with its images beside it
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from clipserve.errors import StoreUnavailable
from clipserve.files import read_bounded, replacing, sync_folder
from clipserve.telemetry.log import logger

T = TypeVar("T")

FOLDER = "label-sets"

_ADVICE = (
    "Label sets cannot be read or changed: CLIPSERVE_STATE_DIR must be a folder on a local disk with free space, "
    "which the service may read and write, and CLIPSERVE_LABEL_SETS_FOLDER one that it may read."
)


class Store(Protocol):
    """Named values. All methods raise StoreUnavailable; a change that fails may still be made."""

    async def listing(self) -> Mapping[str, str]:
        """The names, each with a text that changes with its value. It is asked twice a second."""

    async def read(self, name: str) -> bytes:
        """The value. Raises ValueError: there is none, or none that can be read."""

    async def write(self, name: str, value: bytes) -> None:
        """Set a value: a reader, or a start after a crash, finds the former one or this one."""

    async def delete(self, names: Collection[str]) -> bool:
        """Delete values, which needs no space. False: there was none of them."""

    async def aclose(self) -> None:
        """Close the connections."""


class Failures:
    """Turns errors of a library into StoreUnavailable, and logs the first until a call has succeeded."""

    def __init__(self, kind: type[Exception], advice: str) -> None:
        """`kind`: of the errors to translate. `advice`: what to do, for people who cannot see the log."""
        self._kind, self._advice, self._failing = kind, advice, False

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Wrap one call of the store in this block."""
        try:
            yield
        except self._kind as error:
            if not self._failing:
                reason = f"{type(error).__name__}: {error}"[:500]
                logger.warning("label_set_store_failed", reason=reason, hint=self._advice)
            self._failing = True
            error.__traceback__ = error.__context__ = None  # their frames hold what was to be written
            raise StoreUnavailable(self._advice) from None
        if self._failing:
            logger.info("label_set_store_back")
        self._failing = False


class Folder:
    """A `Store` that any number of processes of one machine may use. The first write makes the folder."""

    def __init__(self, path: Path, most: int) -> None:
        """`most`: bytes of a file, whoever has written it."""
        self.path, self._most, self._failures = path.absolute(), most, Failures(OSError, _ADVICE)

    async def listing(self) -> Mapping[str, str]:
        return await self._call(self._listing)

    async def read(self, name: str) -> bytes:
        return await asyncio.to_thread(self.file, name)

    async def write(self, name: str, value: bytes) -> None:
        await self._call(self._write, name, value)

    async def delete(self, names: Collection[str]) -> bool:
        return await self._call(self._delete, names)

    async def aclose(self) -> None:
        """Nothing is open."""

    def file(self, name: str) -> bytes:
        """Of a file in the folder, and nowhere else. Raises ValueError: it cannot be read."""
        if Path(name).name != name:
            raise ValueError("not a name of a file")
        try:
            return read_bounded(self.path / name, self._most)
        except OSError as error:
            raise ValueError(error.strerror) from None

    def _listing(self) -> dict[str, str]:
        found = dict[str, str]()
        with suppress(FileNotFoundError):  # nothing was put yet
            for each in os.scandir(self.path):
                # Of what a link leads to: a ConfigMap is replaced by its link. A pipe would be waited for.
                with suppress(OSError):  # it was just deleted
                    if not each.name.startswith(".") and each.is_file():
                        stat = each.stat()
                        found[each.name] = f"{stat.st_ctime_ns} {stat.st_ino} {stat.st_size}"
        return found

    def _write(self, name: str, value: bytes) -> None:
        for made in (self.path.parent, self.path):
            if not made.is_dir():
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(made.parent)
        with replacing(self.path / name) as file:
            file.write(value)

    def _delete(self, names: Collection[str]) -> bool:
        there = [path for name in names if (path := self.path / name).exists()]
        for path in there:
            path.unlink(missing_ok=True)  # another process may delete it too
        if there:
            sync_folder(self.path)
        return bool(there)

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        with self._failures.translated():
            return await asyncio.to_thread(function, *arguments)
