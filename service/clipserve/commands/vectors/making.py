"""Makes a file of vectors over any number of runs: reads, embeds and stores items."""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from PIL import Image

from clipserve.application.stream import InFlightLimit, in_order
from clipserve.client.errors import ClipserveError, ItemFailed
from clipserve.client.methods import AsyncMethods
from clipserve.clip.formats import FORMATS, OPTIONAL, sniff
from clipserve.clip.images import opened
from clipserve.commands.progress import Shown
from clipserve.commands.vectors.files import Finished, VectorFileError, write_vectors
from clipserve.commands.vectors.journal import Journal
from clipserve.commands.vectors.listing import Item, VectorSource, summary
from clipserve.concurrency import DaemonExecutor
from clipserve.engine.backend import Vector
from clipserve.errors import UndecodableImage

T = TypeVar("T")

# They read files, so that a slow one does not delay the others; two of them list files.
_THREADS = 6
_LISTED = 256  # items listed at a time
_COMMIT_SECONDS = 1.0  # work that is lost if the process is killed
_WINDOW_BYTES = 64_000_000

Listed = tuple[int, Item]  # (number in the journal, item)
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
    """Embed the items that `out` and its journal lack, then replace `out` by the finished file.

    If this ends early, the journal has the embedded items, and the next call resumes. `truncate`: cut texts that
    are too long. `restart`: discard earlier vectors. `prune`: drop rows that are not in `source`.

    Raises:
        ClipserveError: the service, or the encoders, fail for every item.
        VectorFileError: the journal or `out` cannot be used, or has vectors of another fingerprint or model; or
            nothing to embed was found, and `out` stays as it was.
        OSError: the disk is full, for example.
    """
    journal, keep = Journal(out, source.kind, await clip.served_by(), restart=restart), True
    try:
        # Daemon threads: the command's end waits for no thread that reads a file, a pipe or a disk.
        with Shown(f"{source.kind}s") as shown, DaemonExecutor(_THREADS, "files") as threads:
            if source.countable:
                threads.submit(_count, source, shown)
            run = _Run(clip, journal, shown, threads, truncate)
            await run.embed(source.items(source.left_out))
        finished = journal.finish(prune=prune)
        found = finished.count > finished.others
        if found:
            write_vectors(out, finished)
        keep = not (found or journal.fresh)
    finally:
        journal.close(keep=keep)
    if not found:
        raise VectorFileError(f"no {source.kind} was found to embed. {summary(source.left_out)}".rstrip())
    return finished


def _count(source: VectorSource, shown: Shown) -> None:
    """Count the items while the first are embedded."""
    total = 0
    for _ in source.items(Counter()):
        if shown.ended:
            return
        total += 1
    shown.total = total


@dataclass(frozen=True)
class _Run:
    """Brings items to their outcomes, and stores these."""

    clip: AsyncMethods
    journal: Journal
    shown: Shown
    threads: Executor
    truncate: bool

    async def embed(self, items: Iterator[Item]) -> None:
        """Embed the items that the journal lacks. Finished items are stored even if this ends early."""
        window = InFlightLimit(4 * self.clip.in_flight, _WINDOW_BYTES)
        committed = time.monotonic()
        answers = in_order(self._new(items), self._outcome, window, lambda listed: listed[1].held)
        try:
            async with aclosing(answers) as outcomes:
                async for number, outcome in outcomes:
                    if isinstance(outcome, ItemFailed):
                        self.journal.fail(number, outcome.code, outcome.detail)
                    else:
                        self.journal.keep(number, *outcome)
                    self.shown.advance(failed=isinstance(outcome, ItemFailed))
                    if time.monotonic() - committed > _COMMIT_SECONDS:
                        self.journal.commit()
                        committed = time.monotonic()
        finally:
            self.journal.commit()

    async def _new(self, items: Iterator[Item]) -> AsyncGenerator[Listed, None]:
        position = 0
        while chunk := await self._in_thread(lambda: list(islice(items, _LISTED))):
            for item in chunk:
                state, number = self.journal.expect(item, position)
                position += 1
                if state == "new":
                    yield number, item
                else:
                    self.shown.advance(kept=state == "done")
            await asyncio.sleep(0)  # a long list of finished items does not block the loop

    async def _outcome(self, listed: Listed) -> tuple[int, SizedVector | ItemFailed]:
        number, item = listed
        try:
            return number, await self._embedded(item)
        except ItemFailed as error:
            if error.doubtful:
                await self._see_whether_others_work(item, error)
            return number, error

    async def _embedded(self, item: Item) -> SizedVector:
        if item.text is not None:
            return (0, 0), (await self.clip.embed_text(item.text, truncate=self.truncate)).vector
        image = await self._in_thread(item.image)
        vector = (await self.clip.embed_image(image)).vector
        return size_of(image), vector

    async def _see_whether_others_work(self, item: Item, error: ItemFailed) -> None:
        """Blame an encoder's error on the item only if the same encoder succeeds with a known good item."""
        try:
            if item.text is not None:
                await self.clip.embed_text("a cat", truncate=True)
            else:
                await self.clip.embed_image(_known_good())
        except ItemFailed:
            raise ClipserveError(f"the encoders fail, whatever they are given: {error}") from None

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, job)


def size_of(image: bytes) -> tuple[int, int]:
    """(width, height) in pixels from the header. Raises ItemFailed: there is no valid header."""
    try:
        with opened(sniff(image, FORMATS | OPTIONAL), image) as header:
            return header.size
    except Exception:  # from a decoder, as in clipserve.clip.images; the service accepted the image
        raise ItemFailed("the service embeds it, but it has no header.", UndecodableImage.code) from None


def _known_good() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "grey").save(file, "PNG")
    return file.getvalue()
