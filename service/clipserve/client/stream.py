"""An endless stream of items, and their answers in the same order.

How it works. One task reads items and starts the work on each; the caller takes answers, the oldest first. A window
limits the items, and their bytes, that are being worked on or whose answers are not yet taken. So if a caller takes
no answers, reading stops and memory does not grow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from clipserve.concurrency import clears_frame
from clipserve.errors import ClipError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class InFlightLimit:
    """The most items and bytes between the reader of items and the taker of answers. One item always fits."""

    items: int = 64
    size: int = 32_000_000  # bytes


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
