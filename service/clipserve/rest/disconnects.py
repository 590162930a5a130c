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
    gone = asyncio.create_task(_disconnect(receive))
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            return task.result()
        if gone in done:
            raise ClientGone
        raise DeadlineExceeded(f"there was no answer within {seconds:g} s.", limit=seconds)
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
