"""Waiting for several coroutines; errors come out bare."""

from __future__ import annotations

import asyncio
import gc
from types import FrameType

import pytest

from service.concurrency import both, together


async def test_the_first_error_ends_the_others_and_comes_out_bare() -> None:
    cancelled = asyncio.Event()

    async def hanging() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ""

    async def failing() -> str:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together([hanging(), failing()])
    assert cancelled.is_set()


async def test_both_keep_their_places() -> None:
    async def later() -> int:
        await asyncio.sleep(0.01)
        return 1

    async def sooner() -> str:
        return "two"

    assert await both(later(), sooner()) == (1, "two")


async def test_a_caller_who_leaves_while_the_others_are_ended_leaves_no_cycle() -> None:
    ending, let_go = asyncio.Event(), asyncio.Event()

    async def failing() -> str:
        raise ValueError("no")

    async def slow_to_end() -> str:
        try:
            await asyncio.sleep(3600)
        finally:
            ending.set()
            await let_go.wait()
        return ""

    async def ask() -> None:
        await together([slow_to_end(), failing()])

    gc.disable()
    gc.collect()
    try:
        asking = asyncio.create_task(ask())
        await ending.wait()
        asking.cancel()
        await asyncio.wait({asking})
        let_go.set()
        del asking
        await asyncio.sleep(0.01)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [each.f_code.co_qualname for each in gc.garbage if isinstance(each, FrameType)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert "together" not in left
