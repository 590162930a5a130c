"""Where label sets are kept: files in a folder, or the same names and values in Redis (`redis_store`).

pets.json                the record of a label set that was put
pets.DIGEST.VERSION.npy  the embeddings of one of its definitions, for one fingerprint: a cache
pets.toml, pets.json     in a folder, a set that people write
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from clipserve.errors import StoreUnavailable
from clipserve.files import read_bounded, replacing, sync_folder
from clipserve.telemetry.log import logger

T = TypeVar("T")

STORE_SECONDS = 5.0  # for an answer of Redis, which may have some tens of megabytes
_MOST_BYTES = 100_000_000  # of a file, whoever has written it

_ADVICE = (
    "Label sets cannot be read or changed: CLIPSERVE_STATE_DIR must be a folder on a local disk with free space, "
    "which the service may read and write."
)


class Store(ABC):
    """Named values. All methods raise StoreUnavailable; a change that fails may still be made."""

    def __init__(self, kind: type[Exception], advice: str) -> None:
        """`kind`: of the errors to translate. `advice`: what to do, for people who cannot see the log."""
        self._kind, self._advice, self._failing = kind, advice, False

    @abstractmethod
    async def listing(self) -> Mapping[str, str]:
        """The names, each with a text that changes with its value. It is asked twice a second."""

    @abstractmethod
    async def read(self, name: str) -> bytes | None:
        """The value; None: there is none. Raises ValueError: it cannot be read."""

    @abstractmethod
    async def write(self, name: str, value: bytes) -> None:
        """Set a value: a reader, or a start after a crash, finds the former one or this one."""

    @abstractmethod
    async def delete(self, names: Collection[str]) -> bool:
        """Delete values, which needs no space. False: there was none of them."""

    async def aclose(self) -> None:  # noqa: B027 - a folder has none
        """Close the connections."""

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn errors of a library in this block into StoreUnavailable. The first of several is logged."""
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


class Folder(Store):
    """A store that any number of processes of one machine may use. The first write makes the folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(OSError, _ADVICE)
        self.path = path.absolute()

    async def listing(self) -> Mapping[str, str]:
        return await self._call(self._listing)

    async def read(self, name: str) -> bytes | None:
        try:
            return await asyncio.to_thread(read_bounded, self.path / name, _MOST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ValueError(error.strerror) from None

    async def write(self, name: str, value: bytes) -> None:
        await self._call(self._write, name, value)

    async def delete(self, names: Collection[str]) -> bool:
        return await self._call(self._delete, names)

    def _listing(self) -> dict[str, str]:
        found = dict[str, str]()
        with suppress(FileNotFoundError):  # nothing was put yet
            for each in os.scandir(self.path):
                # Of what a link leads to: a ConfigMap is replaced by its link. A pipe would be waited for.
                with suppress(OSError):  # it was just deleted
                    if not each.name.startswith(".") and each.is_file():
                        stat = each.stat()
                        found[each.name] = f"{stat.st_ctime_ns:020} {stat.st_ino} {stat.st_size}"
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
        with self.translated():
            return await asyncio.to_thread(function, *arguments)
