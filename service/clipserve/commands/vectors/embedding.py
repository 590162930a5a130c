"""Items to rows of a journal: read, embedded and kept, so many at a time."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from PIL import Image

from clipserve.application.stream import Window, in_order
from clipserve.commands.clips.clip import CannotGoOn, Clip, EmbeddedImage, ItemFailed
from clipserve.commands.vectors.journal import Journal
from clipserve.commands.vectors.listing import Item
from clipserve.concurrency import DaemonExecutor

_READERS = 4  # threads that read files: one that is slow to come does not hold up the others
_LISTED = 256  # items that are listed at a time
_COMMIT_SECONDS = 1.0  # work that a process which is killed has done for nothing
_WINDOW_BYTES = 64_000_000
MAX_FILE_BYTES = 20_000_000  # as CLIPSERVE_MAX_BODY_BYTES, which no file over a network may pass

Listed = tuple[int, Item]  # the item's number in the journal


class Watcher(Protocol):
    """Who shows how far it is."""

    def advance(self, *, failed: bool = False, kept: bool = False) -> None:
        """One item more is done; `kept`: by an earlier run."""


@dataclass(frozen=True)
class Options:
    """`truncate`: cut texts that are too long. `max_bytes`: of a file that is read."""

    truncate: bool = False
    max_bytes: int = MAX_FILE_BYTES


async def embed_into(
    journal: Journal,
    clip: Clip,
    items: Iterator[Item],
    watcher: Watcher,
    options: Options = Options(),
) -> None:
    """Embed what the journal does not have yet. What is done when it ends early is kept.

    Raises:
        CannotGoOn: the service, or the encoders, fail whatever they are asked.
    """
    window = Window(4 * clip.in_flight, _WINDOW_BYTES)
    committed = time.monotonic()
    # Of no thread that waits for a file, a pipe or a disk, the end of the command waits.
    with DaemonExecutor(_READERS, "read") as readers, DaemonExecutor(1, "list") as lister:
        worker = _Worker(clip, readers, options)
        listed = _listed(journal, items, watcher, lister)
        try:
            async with aclosing(in_order(listed, worker.outcome, window)) as outcomes:
                async for number, outcome in outcomes:
                    if isinstance(outcome, ItemFailed):
                        journal.fail(number, outcome.code, outcome.detail)
                    else:
                        journal.keep(number, outcome.size, outcome.vector)
                    watcher.advance(failed=isinstance(outcome, ItemFailed))
                    if time.monotonic() - committed > _COMMIT_SECONDS:
                        journal.commit()
                        committed = time.monotonic()
        finally:
            journal.commit()


async def _listed(
    journal: Journal, items: Iterator[Item], watcher: Watcher, lister: Executor
) -> AsyncGenerator[tuple[Listed, int], None]:
    position = 0
    loop = asyncio.get_running_loop()
    while chunk := await loop.run_in_executor(lister, lambda: list(islice(items, _LISTED))):
        for item in chunk:
            state, number = journal.expect(item, position)
            position += 1
            if state == "new":
                yield (number, item), item.size
            else:
                watcher.advance(kept=state == "done")
        await asyncio.sleep(0)  # a long journal of what is done keeps nobody waiting


class _Worker:
    """One item to its outcome."""

    def __init__(self, clip: Clip, readers: Executor, options: Options) -> None:
        self._clip = clip
        self._readers = readers
        self._options = options

    async def outcome(self, listed: Listed) -> tuple[int, EmbeddedImage | ItemFailed]:
        number, item = listed
        try:
            return number, await self._embedded(item)
        except ItemFailed as error:
            if error.doubtful:
                await self._see_whether_others_work(item, error)
            return number, error

    async def _embedded(self, item: Item) -> EmbeddedImage:
        if item.text is not None:
            vector = await self._clip.embed_text(item.text, truncate=self._options.truncate)
            return EmbeddedImage(vector, (0, 0))
        read = asyncio.get_running_loop().run_in_executor
        return await self._clip.embed_image(
            await read(self._readers, read_file, item.path, self._options.max_bytes)
        )

    async def _see_whether_others_work(self, item: Item, error: ItemFailed) -> None:
        """An error of an encoder is the item's own only if the same encoder does what is known to be good."""
        try:
            if item.text is not None:
                await self._clip.embed_text("a cat", truncate=True)
            else:
                await self._clip.embed_image(_known_good())
        except ItemFailed:
            raise CannotGoOn(f"the encoders fail, whatever they are given: {error}") from None


def read_file(path: str, max_bytes: int) -> bytes:
    """The content of a regular file.

    Raises:
        ItemFailed: it cannot be read, is something else, or has more bytes.
    """
    try:
        # A pipe without a writer, or a device, would keep the reader for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ItemFailed("unreadable_file", "it is not a file, or a folder that cannot be read.")
        with open(path, "rb") as file:
            # Not as many as it may have: a buffer of that size for each file leaves holes in the heap.
            content = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is not one of a file"
        raise ItemFailed("unreadable_file", f"{reason}.") from None
    if len(content) > max_bytes:
        raise ItemFailed(
            "body_too_large",
            f"the file has more than {max_bytes:,} bytes, the limit. Make a smaller image of it.",
        )
    return content


def _known_good() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "grey").save(file, "PNG")
    return file.getvalue()
