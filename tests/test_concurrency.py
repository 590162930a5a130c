"""Waiting for several coroutines; errors come out bare."""

from __future__ import annotations

import asyncio

import pytest

from service.concurrency import both, together


class Builder:
    def __init__(self) -> None:
        self.started = 0
        self.gate = asyncio.Event()
        self.cancelled = False

    async def __call__(self) -> str:
        self.started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "built"


async def test_the_first_error_ends_the_others_and_comes_out_bare() -> None:
    hanging = Builder()

    async def failing() -> str:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together([hanging(), failing()])
    assert hanging.cancelled


async def test_both_keep_their_places() -> None:
    async def later() -> int:
        await asyncio.sleep(0.01)
        return 1

    async def sooner() -> str:
        return "two"

    assert await both(later(), sooner()) == (1, "two")
