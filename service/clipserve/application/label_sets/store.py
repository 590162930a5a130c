"""Where label sets are kept: files in a folder, or the same names and values in Redis (`redis_store`).

    pets.json                the record of a label set that was put
    pets.DIGEST.VERSION.npy  the embeddings of one of its definitions, for one fingerprint: a cache
    pets.toml, pets.json     in a folder, a set that people write, with its images beside it

Values are only replaced as a whole, so nothing is ever half written. A deletion needs no space, so it succeeds on a
full disk.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from clipserve.errors import StoreUnavailable
from clipserve.files import read_bounded, replacing, sync_folder
from clipserve.telemetry.log import logger

T = TypeVar("T")

FOLDER = "label-sets"
LOCK_SECONDS = 5.0  # a put waits for others'
OF_EARLIER_FORMAT = "it holds label sets of an earlier version: put them again, then remove it"

_TICK = 100_000_000  # ns; several times that of clocks of file systems
_UNFINISHED, _UNFINISHED_SECONDS = (
    re.compile(r"\.[a-z0-9_]{8}"),
    3_600.0,
)  # of `replacing`, in a killed process
_ADVICE = (
    "Label sets cannot be read or changed: CLIPSERVE_STATE_DIR must be a folder on a local disk with free space, "
    "which the service may read and write, and CLIPSERVE_LABEL_SETS_FOLDER one that it may read."
)


class Source(Protocol):
    """Named values that can be read. Both methods raise StoreUnavailable."""

    async def listing(self) -> Mapping[str, str]:
        """The names, each with a text that changes with its value: the time of the change in ns, a blank, and more.

        It is asked several times a second.
        """

    async def read(self, name: str) -> bytes:
        """The value. Raises ValueError: there is none, or none that can be read."""


class Store(Source, Protocol):
    """A source that can be changed. All methods raise StoreUnavailable; a change that fails may still be made."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        """A block that one caller of all gateways is in: what it has read is so until it writes."""

    async def write(self, name: str, value: bytes) -> None:
        """Set a value: a reader, or a start after a crash, finds the former one or this one."""

    async def delete(self, names: Collection[str]) -> bool:
        """Delete values. False: there was none of them."""

    async def aclose(self) -> None:
        """Close the connections."""


class Failures:
    """Turns errors of a library into StoreUnavailable, and logs the first until a call has succeeded.

    Calls that can fail while others succeed, such as changes on a full disk, need a separate object.
    """

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
                self._failing, kind = True, type(error).__name__
                logger.warning(
                    "label_set_store_failed", error=kind, reason=str(error)[:500], hint=self._advice
                )
            error.__traceback__ = error.__context__ = None  # their frames hold what was to be written
            raise StoreUnavailable(self._advice) from None
        if self._failing:
            self._failing = False
            logger.info("label_set_store_back")


class Folder:
    """The files of a folder, which people may write: a `Source`. It changes nothing."""

    def __init__(self, path: Path, most: int) -> None:
        """`most`: bytes of a file."""
        self.path = path.absolute()
        self._most = most
        self._passed_over: set[str] = set()
        self._reading, self._changing = Failures(OSError, _ADVICE), Failures(OSError, _ADVICE)

    async def listing(self) -> Mapping[str, str]:
        return await self._call(self._reading, lambda: dict(self._listing()))

    async def read(self, name: str) -> bytes:
        return await asyncio.to_thread(self.file, name)

    def file(self, name: str) -> bytes:
        """Of a file in the folder, and nowhere else. Raises ValueError: it cannot be read."""
        if Path(name).name != name:
            raise ValueError("not a name of a file")
        try:
            return read_bounded(self.path / name, self._most)
        except OSError as error:
            raise ValueError(error.strerror) from None

    def _listing(self) -> Iterator[tuple[str, str]]:
        now = time.time_ns()
        for path in sorted(self.path.iterdir()):
            if path.name.startswith("."):
                self._hidden(path)
                continue
            with suppress(FileNotFoundError):  # it was just deleted
                stat = path.stat()  # of what a link leads to: a ConfigMap is replaced by its link
                if not path.is_file():  # a pipe would be waited for
                    self._pass_over(path)
                    continue
                # The next change within a tick of the clock would have the same time.
                young = f" {now}" if abs(now - stat.st_ctime_ns) <= _TICK else ""
                yield path.name, f"{stat.st_ctime_ns} {stat.st_ino} {stat.st_size}{young}"

    def _hidden(self, path: Path) -> None:
        """What is no set."""

    def _pass_over(self, path: Path) -> None:
        if path.name not in self._passed_over:
            self._passed_over.add(path.name)
            old = path.name in ("sets", "vectors")
            hint = OF_EARLIER_FORMAT if old else "it is no file: remove it"
            logger.warning("label_set_store_skips", path=str(path), hint=hint)

    async def _call(self, failures: Failures, function: Callable[[], T]) -> T:
        with failures.translated():
            return await asyncio.to_thread(function)


class FolderStore(Folder):
    """A `Store` that any number of processes of one machine may use. The first write makes the folder."""

    def _listing(self) -> Iterator[tuple[str, str]]:
        with suppress(FileNotFoundError):  # nothing was put yet
            yield from super()._listing()

    def _hidden(self, path: Path) -> None:
        with suppress(OSError):  # who reads may not write here
            if _UNFINISHED.fullmatch(path.name) and path.stat().st_mtime < time.time() - _UNFINISHED_SECONDS:
                path.unlink()

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        file = await self._call(self._changing, lambda: self._made().joinpath(".lock").open("ab"))
        with file:  # a process that is killed lets go of it
            with self._changing.translated():
                async with asyncio.timeout(LOCK_SECONDS):
                    while not _locked(file.fileno()):
                        await asyncio.sleep(0.01)
            yield

    async def write(self, name: str, value: bytes) -> None:
        def written() -> None:
            with replacing(self._made() / name) as file:
                file.write(value)

        await self._call(self._changing, written)

    async def delete(self, names: Collection[str]) -> bool:
        def deleted() -> bool:
            count = 0
            for name in names:
                with suppress(FileNotFoundError):
                    (self.path / name).unlink()
                    count += 1
            if count:
                sync_folder(self.path)
            return bool(count)

        return await self._call(self._changing, deleted)

    async def aclose(self) -> None:
        """Nothing is open."""

    def _made(self) -> Path:
        for made in (self.path.parent, self.path):
            if not made.is_dir():
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(made.parent)
        return self.path


def _locked(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
