"""A file of vectors, from its first item to its last, over any number of runs: read, embedded and kept."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from clipserve.application.stream import Window, in_order
from clipserve.client.errors import ClipserveError, ItemFailed
from clipserve.client.images import MAX_FILE_BYTES, read_file
from clipserve.client.methods import AsyncMethods
from clipserve.clip.formats import FORMATS, sniff
from clipserve.commands.progress import Shown
from clipserve.commands.vectors.files import write_vectors
from clipserve.commands.vectors.journal import Journal
from clipserve.commands.vectors.listing import Item, VectorSource
from clipserve.commands.vectors.rows import Finished
from clipserve.concurrency import DaemonExecutor
from clipserve.engine.backend import Vector
from clipserve.errors import UndecodableImage

_READERS = 4  # threads that read files: one that is slow to come does not hold up the others
_LISTED = 256  # items that are listed at a time
_COMMIT_SECONDS = 1.0  # work that a process which is killed has done for nothing
_WINDOW_BYTES = 64_000_000

Listed = tuple[int, Item]  # the item's number in the journal
SizedVector = tuple[tuple[int, int], Vector]  # (width, height) of an image as its file has it; float32 [D]


async def make_file(
    clip: AsyncMethods,
    source: VectorSource,
    out: Path,
    *,
    truncate: bool = False,
    restart: bool = False,
    prune: bool = False,
) -> Finished:
    """Embed what `out` and its journal do not have yet, then put the finished file in the place of `out`.

    When this ends early, what was embedded is in the journal, and the next call goes on. `truncate`: cut
    texts that are too long. `restart`: from nothing. `prune`: leave out rows that `source` does not name.

    Raises:
        ClipserveError: the service, or the encoders, fail whatever they are asked.
        VectorFileError: the journal or `out` cannot be used, or has vectors of another fingerprint or model.
        OSError: the disk is full, for example.
    """
    journal = Journal(out, source.kind, await clip.served_by(), restart=restart)
    try:
        with Shown(f"{source.kind}s") as shown, DaemonExecutor(1, "count") as counter:
            if source.countable:
                counter.submit(_count, source, shown)
            await _embed(journal, clip, source.items(), shown, truncate=truncate)
        finished = journal.finish(prune=prune)
        write_vectors(out, finished)
    finally:
        journal.close()
    journal.remove()
    return finished


def _count(source: VectorSource, shown: Shown) -> None:
    """How many items there are, while the first are embedded."""
    total = 0
    for _ in source.items():
        if shown.ended:
            return
        total += 1
    shown.total = total


async def _embed(
    journal: Journal, clip: AsyncMethods, items: Iterator[Item], shown: Shown, *, truncate: bool
) -> None:
    """Embed what the journal does not have yet. What is done when it ends early is kept."""
    window = Window(4 * clip.in_flight, _WINDOW_BYTES)
    committed = time.monotonic()
    # Of no thread that waits for a file, a pipe or a disk, the end of the command waits.
    with DaemonExecutor(_READERS, "read") as readers, DaemonExecutor(1, "list") as lister:
        worker = _Worker(clip, readers, truncate)
        listed = _listed(journal, items, shown, lister)
        answers = in_order(listed, worker.outcome, window, lambda listed: listed[1].size)
        try:
            async with aclosing(answers) as outcomes:
                async for number, outcome in outcomes:
                    if isinstance(outcome, ItemFailed):
                        journal.fail(number, outcome.code, outcome.detail)
                    else:
                        journal.keep(number, *outcome)
                    shown.advance(failed=isinstance(outcome, ItemFailed))
                    if time.monotonic() - committed > _COMMIT_SECONDS:
                        journal.commit()
                        committed = time.monotonic()
        finally:
            journal.commit()


async def _listed(
    journal: Journal, items: Iterator[Item], shown: Shown, lister: Executor
) -> AsyncGenerator[Listed, None]:
    position = 0
    loop = asyncio.get_running_loop()
    while chunk := await loop.run_in_executor(lister, lambda: list(islice(items, _LISTED))):
        for item in chunk:
            state, number = journal.expect(item, position)
            position += 1
            if state == "new":
                yield number, item
            else:
                shown.advance(kept=state == "done")
        await asyncio.sleep(0)  # a long journal of what is done keeps nobody waiting


@dataclass(frozen=True)
class _Worker:
    """One item to its outcome."""

    clip: AsyncMethods
    readers: Executor
    truncate: bool

    async def outcome(self, listed: Listed) -> tuple[int, SizedVector | ItemFailed]:
        number, item = listed
        try:
            return number, await self._embedded(item)
        except ItemFailed as error:
            if error.doubtful:
                await self._see_whether_others_work(item, error)
            return number, error

    async def _embedded(self, item: Item) -> SizedVector:
        if item.text is not None:
            embedded = await self.clip.embed_text(item.text, truncate=self.truncate)
            return (0, 0), embedded.vector
        read = asyncio.get_running_loop().run_in_executor
        image = await read(self.readers, read_file, item.path, MAX_FILE_BYTES)
        vector = (await self.clip.embed_image(image)).vector
        return size_of(image), vector

    async def _see_whether_others_work(self, item: Item, error: ItemFailed) -> None:
        """An error of an encoder is the item's own only if the same encoder does what is known to be good."""
        try:
            if item.text is not None:
                await self.clip.embed_text("a cat", truncate=True)
            else:
                await self.clip.embed_image(_known_good())
        except ItemFailed:
            raise ClipserveError(f"the encoders fail, whatever they are given: {error}") from None


def size_of(image: bytes) -> tuple[int, int]:
    """(width, height) in pixels, as the file has it. Raises ItemFailed: it has no header."""
    try:
        with Image.open(io.BytesIO(image), formats=[sniff(image, FORMATS)]) as opened:
            return opened.size
    except Exception:  # of a decoder, as in clipserve.clip.images: the service says that it is an image
        raise ItemFailed("the service embeds it, but it has no header.", UndecodableImage.code) from None


def _known_good() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "grey").save(file, "PNG")
    return file.getvalue()
