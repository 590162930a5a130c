"""Runs a request until one of three things happens: an answer, the deadline, or the departure of the client.

Starlette and FastAPI let a handler run on after its client has left. Here the departure cancels the work, all
the way down to the engine, and so does the deadline.

A request that is answered while it arrives (`clipserve.http1.cycle.STREAM`) reads its own messages, and may wait
for much else when its client leaves: the connection cancels it.
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
    """The client closed its connection; there is nobody to answer."""


@clears_frame
async def run_until_answered(work: Awaitable[T], receive: Receive, seconds: float) -> T:
    """What `work` gives, which does not read from `receive` itself.

    Raises:
        ClientGone: the client left before `work` ended.
        DeadlineExceeded: `work` took longer than `seconds`.
        Exception: whatever `work` raises.
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
