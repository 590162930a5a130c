"""Bulk requests: an endless stream of items, and their answers in the same order.

How it works. One task reads items and starts the work on each; the caller takes answers, the oldest first. A window
limits the items, and their bytes, that are being worked on or whose answers are not yet taken. So if a caller takes
no answers, reading stops and memory does not grow.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from clipserve.concurrency import clears_frame
from clipserve.errors import BodyTooLarge, ClipError, Overloaded, TooMany
from clipserve.telemetry.request import RequestContext, current

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class InFlightLimit:
    """The most items and bytes between the reader of items and the taker of answers. One item always fits."""

    items: int = 64
    size: int = 32_000_000  # bytes


# Each has its own window of up to 32 MB.
MAX_BULK_REQUESTS = 4


class Places:
    """Limits concurrent requests of one kind: in all, and of one caller."""

    def __init__(self, what: str, limit: int, limit_of_one: int, retry_after: float = 1) -> None:
        self._what = what
        self._limit = limit
        self._limit_of_one = limit_of_one
        self._retry_after = retry_after
        self._taken: Counter[str] = Counter()  # by caller

    @contextmanager
    def taken(self, caller: str, who: str = "your address") -> Iterator[None]:
        """Hold a place for this caller in this block. `who`: the caller's name in errors.

        Raises:
            Overloaded: no place is free, or the caller has its share.
        """
        self._check(f"{who} has", self._taken[caller], self._limit_of_one)
        self._check("there are", self._taken.total(), self._limit)
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]

    def _check(self, who: str, taken: int, limit: int) -> None:
        if taken >= limit:
            raise Overloaded(
                f"{who} {taken:,} {self._what} at work; the limit is {limit:,}, of {self._limit:,} in all. Try "
                "again when one has ended.",
                retry_after=self._retry_after,
            )


class BulkPlaces(Places):
    """The places for bulk requests of all fronts. One key, or one address without keys, may have half of them.

    `shared`: all callers have the address of a proxy, which may have all places.
    """

    def __init__(self, limit: int = MAX_BULK_REQUESTS, *, shared: bool = False) -> None:
        super().__init__("bulk requests", limit, limit if shared else (limit + 1) // 2, retry_after=10)

    def of_present(self, address: str) -> AbstractContextManager[None]:
        """`taken` for the caller of the present request, which came from `address`."""
        request = current()
        key = request.key if isinstance(request, RequestContext) else None
        return self.taken(f"key {key}", "your key") if key else self.taken(address)


@dataclass(frozen=True, kw_only=True)
class TotalLimits:
    """The most that one bulk request may send: a million lines of 10 KB. A line is an item."""

    max_bulk_lines: int = 1_000_000
    max_bulk_bytes: int = 10_000_000_000


class Total:
    """Counts what one bulk request has sent."""

    def __init__(self, limits: TotalLimits) -> None:
        self._limits = limits
        self._items = self._size = 0

    def add(self, *, items: int = 0, size: int = 0) -> None:
        """Count items and bytes.

        Raises:
            TooMany, BodyTooLarge: the total exceeds the limit.
        """
        self._items += items
        self._size += size
        if self._items > (limit := self._limits.max_bulk_lines):
            raise TooMany(f"the request has more than {limit:,} items.", limit=limit, actual=self._items)
        if self._size > (limit := self._limits.max_bulk_bytes):
            raise BodyTooLarge(f"the request has more than {limit:,} bytes.", limit=limit, actual=self._size)


async def in_order(
    items: AsyncGenerator[T, None],
    work: Callable[[T], Coroutine[Any, Any, R]],
    window: InFlightLimit,
    size_of: Callable[[T], int] = lambda _: 0,
) -> AsyncGenerator[R, None]:
    """The answers of `work`, in the order of `items`. `size_of`: the bytes of an item.

    Close it (`contextlib.aclosing`), which cancels running work.

    Raises:
        ClipError: one of `items`, after the answers of the items before it.
        Exception: any other error of `items`, at once; and any error of `work`.
    """
    room = _Room(window)
    started: asyncio.Queue[tuple[asyncio.Task[R], int] | None] = asyncio.Queue()  # None: no more will come
    under_way: deque[asyncio.Task[R]] = deque()

    async def read() -> None:
        try:
            async with aclosing(items):
                async for item in items:
                    size = size_of(item)
                    await room.take(size)
                    under_way.append(asyncio.create_task(work(item)))
                    started.put_nowait((under_way[-1], size))
                    del item  # do not hold it while waiting for the next
        except ClipError:
            raise
        except Exception:  # the client has left, or a bug: nobody waits for the answers any more
            _cancel(under_way)
            raise
        finally:
            started.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (next_one := await started.get()) is not None:
            yield await _answer(next_one[0], reader)
            under_way.popleft()
            room.give_back(next_one[1])
        await reader
    finally:
        next_one = None
        _cancel([reader])
        await asyncio.gather(reader, return_exceptions=True)
        _cancel(under_way)
        await asyncio.gather(*under_way, return_exceptions=True)
        under_way.clear()
        del reader  # `clears_frame` says why


@clears_frame
async def _answer(task: asyncio.Task[R], reader: asyncio.Task[None]) -> R:
    try:
        return await task
    except asyncio.CancelledError:
        if task.cancelled() and reader.done():
            reader.result()  # raises its error
        raise


def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


class _Room:
    """What is left of a window."""

    def __init__(self, window: InFlightLimit) -> None:
        self._window = window
        self._items = self._size = 0
        self._changed = asyncio.Event()

    async def take(self, size: int) -> None:
        while self._items and (self._items >= self._window.items or self._size + size > self._window.size):
            self._changed.clear()
            await self._changed.wait()
        self._items += 1
        self._size += size

    def give_back(self, size: int) -> None:
        self._items -= 1
        self._size -= size
        self._changed.set()
