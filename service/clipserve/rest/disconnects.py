"""Runs a request until one of three things happens: an answer, the deadline, or the departure of the client.

Starlette and FastAPI let a handler run on after its client has left. Here the departure cancels the work, all
the way down to the engine, and so does the deadline.

A request that is answered while it arrives (`clipserve.http1.cycle.STREAM`) reads its own messages, and may wait
for much else when its client leaves: the connection cancels it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive

from clipserve.errors import DeadlineExceeded

Work = Callable[[Receive], Awaitable[None]]


class ClientGone(Exception):
    """The client closed its connection; there is nobody to answer."""


async def run_until_answered(work: Work, unread: list[bytes], receive: Receive, seconds: float) -> None:
    """Run `work`, which is given a `receive` that has the whole body at once: the one item of `unread`.

    Raises:
        ClientGone: the client left before `work` ended.
        DeadlineExceeded: `work` took longer than `seconds`.
        Exception: whatever `work` raises.
    """
    gone = asyncio.create_task(_disconnect(receive))

    async def replay() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await asyncio.shield(gone)

    async def call() -> None:
        await work(replay)

    task = asyncio.create_task(call())
    try:
        done, _ = await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            task.result()
        elif gone in done:
            raise ClientGone
        else:
            raise DeadlineExceeded(f"there was no answer within {seconds:g} s.", limit=seconds)
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        del task  # `clipserve.concurrency` says why


async def _disconnect(receive: Receive) -> Message:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message
