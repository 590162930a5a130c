"""Runs a request until it is answered, its deadline is over, or its client leaves.

Starlette and FastAPI let a handler continue after its client has left. Here the departure and the deadline cancel
the work, all the way down to the engine.

A streaming request (`clipserve.http1.cycle.STREAM`) reads its own messages, and may be waiting for something else
when its client leaves: the connection cancels it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from clipserve.concurrency import clears_frame
from clipserve.errors import DeadlineExceeded

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed its connection; no answer is sent."""


@clears_frame
async def run_until_answered(work: Awaitable[T], receive: Receive, seconds: float) -> T:
    """Await `work`, which must not read from `receive`, and return its result.

    Raises:
        ClientGone: the client left before `work` ended.
        DeadlineExceeded: `work` took longer than `seconds`.
        Exception: any error of `work`.
    """
    timer = asyncio.timeout(seconds)
    gone = asyncio.create_task(_until_gone(receive, timer))
    try:
        async with timer:
            return await work
    except TimeoutError:
        if not timer.expired():
            raise
        if gone.done():
            raise ClientGone from None
        raise DeadlineExceeded(f"there was no answer within {seconds:g} s.", limit=seconds) from None
    finally:
        gone.cancel()


async def _until_gone(receive: Receive, timer: asyncio.Timeout) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if not timer.expired():
        timer.reschedule(0.0)  # a time that has passed: the work is cancelled at once
