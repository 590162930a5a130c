"""Items one after the other, without end, and their answers in the same order: what bulk requests are made of.

How it works. One task reads items and starts the work on each; the caller takes answers, the oldest first. Both are
bound by a window of items and of bytes: what is being worked on, and what is done and not yet taken. So a caller
who takes no answers stops the reading, and memory stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_Started = asyncio.Queue[tuple[asyncio.Task[R], int] | None]  # None: no more will come


@dataclass(frozen=True)
class Window:
    """What may be between the reader of items and the taker of answers; one item always may."""

    items: int = 64
    size: int = 32_000_000  # bytes


async def in_order(
    items: AsyncIterator[tuple[T, int]], work: Callable[[T], Coroutine[Any, Any, R]], window: Window
) -> AsyncGenerator[R, None]:
    """The answers of `work`, in the order of `items`, each of which comes with its size in bytes.

    Close it (`contextlib.aclosing`): what is under way is then cancelled.

    Raises:
        Exception: what `items` raises, behind the answers of those before, or the first that `work` raises.
    """
    room = _Room(window)
    started: _Started[R] = asyncio.Queue()

    async def read() -> None:
        try:
            async for item, size in items:
                await room.take(size)
                started.put_nowait((asyncio.create_task(work(item)), size))
                del item  # while the next is waited for
        finally:
            started.put_nowait(None)

    reader = asyncio.create_task(read())
    task: asyncio.Task[R] | None = None
    try:
        while (next_one := await started.get()) is not None:
            task, size = next_one
            del next_one
            answer = await task
            room.give_back(size)
            yield answer
        await reader
    finally:
        await _end(reader, task, started)
        del reader, task  # `service.concurrency` says why


async def _end(
    reader: asyncio.Task[None],
    task: asyncio.Task[R] | None,
    started: asyncio.Queue[tuple[asyncio.Task[R], int] | None],
) -> None:
    tasks: list[asyncio.Task[Any]] = [reader] if task is None else [reader, task]
    while not started.empty():
        if one := started.get_nowait():
            tasks.append(one[0])
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Room:
    """What is left of a window."""

    def __init__(self, window: Window) -> None:
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
