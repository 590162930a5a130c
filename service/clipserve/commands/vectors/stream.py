"""The answers of many items, in their order, while a bounded number of them is worked on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from clipserve.concurrency import ended

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    items: AsyncGenerator[T, None], work: Callable[[T], Coroutine[Any, Any, R]], most: int
) -> AsyncGenerator[R, None]:
    """The answers of `work`, in the order of `items`. Close it (`contextlib.aclosing`), which cancels running work.

    `most`: items that are worked on at once; four times as many may have an answer that is not taken yet. The first
    error of `items` or of `work` is raised, and ends it.
    """
    tasks, places = deque[asyncio.Task[R]](), asyncio.Semaphore(most)

    async def placed(item: T) -> R:
        async with places:
            return await work(item)

    async with aclosing(items):
        try:
            async for item in items:
                tasks.append(asyncio.create_task(placed(item)))
                while tasks and (len(tasks) == 4 * most or tasks[0].done()):
                    yield await tasks.popleft()
            while tasks:
                yield await tasks.popleft()
        finally:
            await ended([*tasks])
