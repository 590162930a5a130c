"""Brings an index up to date: lists items, embeds those that it lacks, and stores them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

from clipserve.client.errors import ItemFailed
from clipserve.client.index import Facts, Index, IndexUnusable, Row
from clipserve.client.methods import AsyncMethods
from clipserve.clip.formats import FORMATS, OPTIONAL, sniff
from clipserve.clip.images import opened
from clipserve.commands.progress import Shown
from clipserve.commands.vectors.listing import Item, Met, VectorSource, summary
from clipserve.commands.vectors.stream import in_order
from clipserve.concurrency import DaemonExecutor
from clipserve.errors import UndecodableImage

T = TypeVar("T")

# They read files, so that a slow one does not delay the others; two of them list files.
_THREADS = 6
_LISTED = 256  # items listed at a time
_COMMIT_SECONDS = 1.0  # work that is lost if the process is killed


class Updated(NamedTuple):
    """Items with a vector and without one; and `others`: rows that stay though they are not among the items.

    `unread`: folders and files that could not be read, and why. Their rows stay. `damaged`: rows of before.
    """

    embedded: int
    failed: int
    others: int
    unread: dict[str, str]
    damaged: list[str]


async def update(
    clip: AsyncMethods,
    source: VectorSource,
    index: Index,
    shown: Shown,
    *,
    prune: bool = False,
    retry: bool = True,
) -> Updated:
    """Embed the items that the index lacks, or whose files have changed. It writes nothing if there are none.

    If this ends early, the index has what was embedded, and the next call goes on from there. `prune`: drop rows
    that are not in `source`, but not of what cannot be looked at. `retry`: embed again what has failed.

    Raises:
        ClipserveError: the service, or the model, cannot be asked.
        IndexUnusable: the index cannot be used, or is of another fingerprint; or there is nothing to embed.
        IndexInUse: something must be embedded, and another process writes the index.
    """
    served = await clip.served_by()
    facts = Facts(served.model, served.fingerprint, served.embed_dim)
    # Daemon threads: the command's end waits for no thread that reads a file, a pipe or a disk.
    with DaemonExecutor(_THREADS, "files") as threads:
        run = _Run(clip, index, shown, threads, partial(index.begin, facts), source.met, retry)
        if source.countable:
            threads.submit(_count, source, shown)
        index.check(facts)
        run.known = await run.in_thread(index.known)
        damaged = await run.in_thread(index.damaged) if retry else []
        run.known |= dict.fromkeys(damaged, (-1, -1, ""))  # as if their files had changed
        await run.embed(source.items(source.met))
        others, unread = (
            {name for name in run.known.keys() - run.seen if not source.keeps(name)},
            source.met.unread,
        )
        hidden = set(filter(source.met.hides, others))
        gone = (
            others - hidden if prune else set(filter(source.met.is_gone, others if source.followed else ()))
        )
        if source.followed:
            why = (
                "empty or not there, as a drive that is not mounted. `clipserve embed --prune` drops its rows"
            )
            unread = dict.fromkeys((os.path.dirname(name) for name in others - hidden - gone), why) | unread
        if not run.seen and (prune or not unread or not others):
            raise IndexUnusable(
                f"no image was found to embed. {' '.join(summary(source.met, unread))}".rstrip()
            )
        if gone:
            await run.in_thread(run.begin)
            await run.in_thread(partial(index.drop, gone))
    return Updated(run.embedded, run.failed, len(others - gone), unread, damaged)


def _count(source: VectorSource, shown: Shown) -> None:
    """Count the items while the first are embedded."""
    total = 0
    for _ in source.items(Met()):
        if shown.ended:
            return
        total += 1
    shown.total = total


@dataclass
class _Run:
    """Brings items to their outcomes, and stores these. `known`: what the index had; `seen`: names of items."""

    clip: AsyncMethods
    index: Index
    shown: Shown
    threads: Executor
    begin: Callable[[], None]
    met: Met
    retry: bool
    embedded: int = 0
    failed: int = 0
    known: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    async def embed(self, items: Iterator[Item]) -> None:
        """Embed the items that the index lacks. Finished items are stored even if this ends early."""
        # Files are read while others are embedded.
        answers = in_order(self._lacking(items), self._outcome, self.clip.in_flight + _THREADS)
        rows, committed = list[Row](), time.monotonic()
        try:
            async with aclosing(answers) as outcomes:
                async for row in outcomes:
                    rows.append(row)
                    self.embedded += row.vector is not None
                    self.failed += row.vector is None
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
            lacking = [item for item in chunk if self._lacks(item)]
            if lacking:
                await self.in_thread(self.begin)
            for item in lacking:
                yield item

    def _lacks(self, item: Item) -> bool:
        """Whether it is to be embedded; an item that is named twice counts once. What is hidden keeps its row."""
        if item.key in self.met.unread and (item.failed or item.key in self.known):
            return False
        row, is_again = self.known.get(item.key), item.key in self.seen
        self.seen.add(item.key)
        is_there = row is not None and row[:2] == (item.size, item.modified) and not (row[2] and self.retry)
        if is_again or is_there:
            self.shown.advance(kept=row is not None)
        return not (is_again or is_there)

    async def _outcome(self, item: Item) -> Row:
        try:
            image = await self.in_thread(item.image)
            vector = (await self.clip.embed_image(image)).vector
            return Row(item.key, item.size, item.modified, *size_of(image), vector=vector)
        except ItemFailed as error:
            return Row(item.key, item.size, item.modified, code=error.code, detail=error.detail)

    async def in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, job)


def size_of(image: bytes) -> tuple[int, int]:
    """(width, height) in pixels from the header. Raises ItemFailed: there is no valid header."""
    try:
        with opened(sniff(image, FORMATS | OPTIONAL), image) as header:
            return header.size
    except Exception:  # from a decoder, as in clipserve.clip.images; the service accepted the image
        raise ItemFailed("the service embeds it, but it has no header.", UndecodableImage.code) from None
