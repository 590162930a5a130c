"""Waiting for what a test has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable


async def settled() -> None:
    """Every task has gone as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(holds: Callable[[], Awaitable[object] | bool], seconds: float = 60) -> None:
    """Wait until it holds, and so long at the most; it is asked on the event loop."""
    async with asyncio.timeout(seconds):
        while not (await held if isawaitable(held := holds()) else held):
            await asyncio.sleep(0.01)
