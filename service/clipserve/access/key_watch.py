"""Keys that follow their file: read again whenever it has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from clipserve.access.key_file import KeyFileError, read_keys
from clipserve.access.keys import Keys
from clipserve.concurrency import kept_running
from clipserve.telemetry.log import logger

_SECONDS = 0.5  # a change counts within two

# Not inotify: a secret of Kubernetes changes by a symbolic link to its folder, which `stat` follows and inotify
# does not, and it does not see what another machine does to a network's file system.
Signature = tuple[int, ...] | None  # of a file; None: there is none


@asynccontextmanager
async def following(path: Path) -> AsyncIterator[Keys]:
    """The keys of the file as it is now, and whenever it has changed.

    A file that is spoilt later on is logged, and the keys stay as they were.

    Raises:
        KeyFileError: the file cannot be used.
    """
    seen = _signature(path)
    keys = Keys(read_keys(path))
    logger.info("keys", count=len(keys))
    task = kept_running("keys", partial(_follow, path, keys, seen))
    try:
        yield keys
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow(path: Path, keys: Keys, seen: Signature) -> None:
    while True:
        await asyncio.sleep(_SECONDS)
        # In a thread: a disk, above all one of the network, may take its time.
        now = await asyncio.to_thread(_signature, path)
        if now == seen:
            continue
        seen = now  # of before it is read: what changes meanwhile is seen the next time
        try:
            keys.replace(await asyncio.to_thread(read_keys, path))
        except KeyFileError as error:
            logger.error("keys_unchanged", reason=str(error), hint="the keys are those of before")
        else:
            logger.info("keys", count=len(keys))


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev, status.st_size
