"""Brings an index up to date: lists items, embeds those that it lacks, and stores them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from operator import attrgetter
from typing import NamedTuple, TypeVar

from clipserve.client.errors import ClipserveError, ItemFailed
from clipserve.client.index import Facts, Index, IndexUnusable, Known, Row
from clipserve.client.methods import AsyncMethods
from clipserve.client.stream import in_order
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
_DOUBTFUL = 10  # failures that may be the encoders', one after the other, after which they are


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
    restart: bool = False,
    prune: bool = False,
    retry: bool = True,
) -> Updated:
    """Embed the items that the index lacks, or whose files have changed. It writes nothing if there are none.

    If this ends early, the index has what was embedded, and the next call goes on from there. `restart`:
    discard earlier rows. `prune`: drop rows that are not in `source`. `retry`: embed again what has failed.

    Raises:
        ClipserveError: the service, or the encoders, fail for every item.
        IndexUnusable: the index cannot be used, or is of another fingerprint; or there is nothing to embed.
        IndexInUse: something must be embedded, and another process writes the index.
    """
    served = await clip.served_by()
    facts = Facts(served.model, served.fingerprint, served.embed_dim)
    # Daemon threads: the command's end waits for no thread that reads a file, a pipe or a disk.
    with DaemonExecutor(_THREADS, "files") as threads:
        run = _Run(clip, index, shown, threads, partial(index.begin, facts, restart=restart), retry)
        if source.countable:
            threads.submit(_count, source, shown)
        if not restart:
            index.check(facts)
            run.known = await run.in_thread(index.known)
        await run.embed(source.items(source.left_out))
        if not run.seen:
            raise IndexUnusable(f"no image was found to embed. {summary(source.left_out)}".rstrip())
        others = [name for name in run.known.keys() - run.seen if not source.keeps(name)]
        if prune and others:
            await run.in_thread(run.begin)
            await run.in_thread(partial(index.drop, others))
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
    """Brings items to their outcomes, and stores these.

    Attributes:
        begin: see `Index.begin`.
        known: what the index had before.
        seen: names of items.
    """

    clip: AsyncMethods
    index: Index
    shown: Shown
    threads: Executor
    begin: Callable[[], None]
    retry: bool
    embedded: int = 0
    known: dict[str, Known] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    _has_begun: bool = False
    _doubtful: int = 0

    async def embed(self, items: Iterator[Item]) -> None:
        """Embed the items that the index lacks. Finished items are stored even if this ends early."""
        most, size_of = 4 * self.clip.in_flight, attrgetter("held")
        answers = in_order(self._lacking(items), self._outcome, most, size_of=size_of)
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

    async def _lacking(self, items: Iterator[Item]) -> AsyncGenerator[Item, None]:
        while chunk := await self.in_thread(lambda: list(islice(items, _LISTED))):
            for item in chunk:
                row = self.known.get(item.key)
                changed = row is None or (row.size, row.modified) != (item.size, item.modified)
                if item.key in self.seen or not (changed or (row and row.code and self.retry)):
                    self.shown.advance(kept=row is not None)
                    self.seen.add(item.key)
                    continue
                self.seen.add(item.key)
                if not self._has_begun:
                    await self.in_thread(self.begin)
                    self._has_begun = True
                yield item

    async def _outcome(self, item: Item) -> Row:
        try:
            row = await self._embedded(item)
        except ItemFailed as error:
            self._doubtful = self._doubtful + 1 if error.doubtful else 0
            if self._doubtful == _DOUBTFUL:
                raise ClipserveError(f"the encoders fail, whatever they are given: {error}") from None
            return Row(item.key, item.size, item.modified, code=error.code, detail=error.detail)
        self._doubtful = 0
        return row

    async def _embedded(self, item: Item) -> Row:
        image = await self.in_thread(item.image)
        vector = (await self.clip.embed_image(image)).vector
        return Row(item.key, item.size, item.modified, *size_of(image), vector=vector)

    async def in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, job)


def size_of(image: bytes) -> tuple[int, int]:
    """(width, height) in pixels from the header. Raises ItemFailed: there is no valid header."""
    try:
        with opened(sniff(image, FORMATS | OPTIONAL), image) as header:
            return header.size
    except Exception:  # from a decoder, as in clipserve.clip.images; the service accepted the image
        raise ItemFailed("the service embeds it, but it has no header.", UndecodableImage.code) from None
