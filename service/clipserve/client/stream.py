"""The answers of an endless stream of items, in order, while a bounded number of items is worked on."""

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
    items: AsyncGenerator[T, None],
    work: Callable[[T], Coroutine[Any, Any, R]],
    most: int,
    *,
    most_bytes: int = 64_000_000,
    size_of: Callable[[T], int] = lambda _: 0,
) -> AsyncGenerator[R, None]:
    """The answers of `work`, in the order of `items`. Close it (`contextlib.aclosing`), which cancels running work.

    At most `most` items are worked on or have an answer that is not taken yet; none is read while they have
    `most_bytes` together or more. So if nobody takes answers, reading stops. `size_of`: the bytes of an item. The
    first error of `items` or of `work` is raised, and ends it.
    """
    under_way = deque[tuple[asyncio.Task[R], int]]()
    waiting: asyncio.Task[T] | None = None  # for the next item
    is_end = False
    async with aclosing(items):
        try:
            while under_way or not is_end:
                has_room = len(under_way) < most and sum(size for _, size in under_way) < most_bytes
                if waiting is None and has_room and not is_end:
                    waiting = asyncio.ensure_future(anext(items))
                oldest = [under_way[0][0]] if under_way else []
                await asyncio.wait([*oldest, *([waiting] if waiting else [])], return_when="FIRST_COMPLETED")
                if waiting and waiting.done():
                    try:
                        item = waiting.result()
                        under_way.append((asyncio.create_task(work(item)), size_of(item)))
                        del item  # do not hold it while waiting for the next
                    except StopAsyncIteration:
                        is_end = True
                    waiting = None
                elif oldest and oldest[0].done():
                    under_way.popleft()
                    yield oldest[0].result()
        finally:
            await ended([*([waiting] if waiting else []), *(task for task, _ in under_way)])
