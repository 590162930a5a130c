"""Brings an index up to date: lists items, embeds those that it lacks, and stores them."""

from __future__ import annotations

import asyncio
import io
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

from PIL import Image

from clipserve.client.errors import ClipserveError, ItemFailed
from clipserve.client.index import Facts, Index, IndexUnusable, Known, Row
from clipserve.client.methods import AsyncMethods
from clipserve.client.stream import InFlightLimit, in_order
from clipserve.clip.formats import FORMATS, OPTIONAL, sniff
from clipserve.clip.images import opened
from clipserve.commands.progress import Shown
from clipserve.commands.vectors.listing import Item, VectorSource, summary
from clipserve.concurrency import DaemonExecutor
from clipserve.errors import UndecodableImage

T = TypeVar("T")

# They read files, so that a slow one does not delay the others; two of them list files.
_THREADS = 6
_LISTED = 256  # items listed at a time
_COMMIT_SECONDS = 1.0  # work that is lost if the process is killed
_WINDOW_BYTES = 64_000_000


class Updated(NamedTuple):
    """What a run did. `embedded`: items; `others`: rows that stay though they are not among the items."""

    embedded: int
    others: int


async def update(
    clip: AsyncMethods,
    source: VectorSource,
    index: Index,
    shown: Shown,
    *,
    truncate: bool = False,
    restart: bool = False,
    prune: bool = False,
    retry: bool = True,
) -> Updated:
    """Embed the items that the index lacks, or whose files have changed. It writes nothing if there are none.

    If this ends early, the index has what was embedded, and the next call goes on from there. `truncate`: cut texts
    that are too long. `restart`: discard earlier rows. `prune`: drop rows that are not in `source`. `retry`: embed
    again what has failed.

    Raises:
        ClipserveError: the service, or the encoders, fail for every item.
        IndexUnusable: the index cannot be used, or is of another fingerprint; or there is nothing to embed.
        IndexInUse: something must be embedded, and another process writes the index.
    """
    served = await clip.served_by()
    facts = Facts(source.kind, served.model, served.fingerprint, served.embed_dim)
    # Daemon threads: the command's end waits for no thread that reads a file, a pipe or a disk.
    with DaemonExecutor(_THREADS, "files") as threads:
        if source.countable:
            threads.submit(_count, source, shown)
        run = _Run(clip, index, shown, threads, facts, truncate, restart, retry)
        if not restart:
            index.check(facts)
        before = {} if restart else await run.in_thread(index.numbers)
        await run.embed(source.items(source.left_out))
        if not run.seen and not run.embedded:
            raise IndexUnusable(f"no {source.kind} was found to embed. {summary(source.left_out)}".rstrip())
        others = [number for number in before.keys() - run.seen if not source.keeps(before[number])]
        if prune and others:
            await run.begin()
            await run.in_thread(lambda: index.drop(others))
            others = []
    return Updated(run.embedded, len(others))


def _count(source: VectorSource, shown: Shown) -> None:
    """Count the items while the first are embedded."""
    total = 0
    for _ in source.items(Counter()):
        if shown.ended:
            return
        total += 1
    shown.total = total


@dataclass
class _Run:
    """Brings items to their outcomes, and stores these. `seen`: numbers of rows that are among the items."""

    clip: AsyncMethods
    index: Index
    shown: Shown
    threads: Executor
    facts: Facts
    truncate: bool
    restart: bool
    retry: bool
    embedded: int = 0
    seen: set[int] = field(default_factory=set)
    _new_names: set[str] = field(default_factory=set)

    async def embed(self, items: Iterator[Item]) -> None:
        """Embed the items that the index lacks. Finished items are stored even if this ends early."""
        window = InFlightLimit(4 * self.clip.in_flight, _WINDOW_BYTES)
        answers = in_order(self._lacking(items), self._outcome, window, lambda item: item.held)
        rows, committed = list[Row](), time.monotonic()
        try:
            async with aclosing(answers) as outcomes:
                async for row in outcomes:
                    rows.append(row)
                    self.embedded += 1
                    self.shown.advance(failed=row.vector is None)
                    if time.monotonic() - committed > _COMMIT_SECONDS:
                        stored, rows = rows, []
                        await self.in_thread(partial(self.index.store, stored))
                        committed = time.monotonic()
        finally:
            if rows:
                self.index.store(rows)

    async def begin(self) -> None:
        await self.in_thread(lambda: self.index.begin(self.facts, restart=self.restart))

    async def _lacking(self, items: Iterator[Item]) -> AsyncGenerator[Item, None]:
        while chunk := await self.in_thread(lambda: list(islice(items, _LISTED))):
            known = await self.in_thread(partial(self._known, chunk))
            for item, row in zip(chunk, known, strict=True):
                if row:
                    is_again = row.number in self.seen
                    self.seen.add(row.number)
                    changed = (row.size, row.modified) != (item.size, item.modified)
                    if is_again or not (changed or (row.code and self.retry)):
                        self.shown.advance(kept=True)
                        continue
                elif item.key in self._new_names:  # named twice
                    self.shown.advance()
                    continue
                else:
                    self._new_names.add(item.key)
                await self.begin()
                yield item

    def _known(self, items: Sequence[Item]) -> list[Known | None]:
        return [None] * len(items) if self.restart else self.index.known([item.key for item in items])

    async def _outcome(self, item: Item) -> Row:
        try:
            return await self._embedded(item)
        except ItemFailed as error:
            if error.doubtful:
                await self._see_whether_others_work(item, error)
            return Row(item.key, item.size, item.modified, code=error.code, detail=error.detail)

    async def _embedded(self, item: Item) -> Row:
        if item.text is not None:
            vector = (await self.clip.embed_text(item.text, truncate=self.truncate)).vector
            return Row(item.key, 0, 0, vector=vector)
        image = await self.in_thread(item.image)
        vector = (await self.clip.embed_image(image)).vector
        return Row(item.key, item.size, item.modified, *size_of(image), vector=vector)

    async def _see_whether_others_work(self, item: Item, error: ItemFailed) -> None:
        """Blame an encoder's error on the item only if the same encoder succeeds with a known good item."""
        try:
            if item.text is not None:
                await self.clip.embed_text("a cat", truncate=True)
            else:
                await self.clip.embed_image(_known_good())
        except ItemFailed:
            raise ClipserveError(f"the encoders fail, whatever they are given: {error}") from None

    async def in_thread(self, job: Callable[[], T]) -> T:
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
