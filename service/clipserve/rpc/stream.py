"""EmbedStream: messages are read, worked on and answered at the same time, and answered in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

from grpc.aio import EOF

from clipserve.access.gate import when_there_is_room
from clipserve.application.body import Body
from clipserve.concurrency import ended
from clipserve.errors import BodyTooSlow
from clipserve.rpc.calls import Call, Work
from clipserve.rpc.reads import looked_at

ITEMS = 16  # between the reading of a message and the sending of its answer


class Stream:
    """One call. A message is read when there is room for its answer: if the client takes none, nothing is read."""

    def __init__(
        self, call: Call, work: Work, charge: Callable[[int], Awaitable[None]], seconds: float
    ) -> None:
        """`work` makes an answer of a message. `charge` takes its bytes. `seconds`: that a client may be silent."""
        self._call, self._work, self._charge, self._seconds = call, work, charge, seconds
        self._room = asyncio.Semaphore(ITEMS)
        self._answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()  # None: no more will come
        self._at_work: deque[asyncio.Task[bytes]] = deque()
        self._is_reading = self._is_over = False

    async def run(self) -> None:
        """Answer until the client ends its side.

        Raises:
            BodyTooSlow: the client has all answers, and has sent nothing for a while.
            Unauthenticated, PermissionDenied: the key was removed meanwhile.
        """
        reader = asyncio.create_task(self._read())
        reader.add_done_callback(looked_at)
        try:
            while task := await self._next():
                await self._call.write(await task)
                self._at_work.popleft()
                self._room.release()
            await reader  # raises its error, after the answers to what came before
        finally:
            self._is_over = True
            # A read is not cancelled: see `Reads`. It ends with the call.
            await ended([*self._at_work] if self._is_reading else [reader, *self._at_work])

    async def _read(self) -> None:
        try:
            while True:
                await self._room.acquire()
                self._is_reading = True
                message = await self._call.context.read()
                self._is_reading = False
                if message is EOF or self._is_over:
                    return
                body = Body(message)
                del message  # only `body` holds it
                await self._call.bytes.wait(len(body))
                await when_there_is_room(partial(self._charge, len(body)))
                self._at_work.append(asyncio.create_task(self._work(body)))
                self._answers.put_nowait(self._at_work[-1])
        finally:
            self._answers.put_nowait(None)

    async def _next(self) -> asyncio.Task[bytes] | None:
        """The work on the next message; None: no more will come."""
        while self._answers.empty():
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._answers.get()
            except TimeoutError:
                if self._is_reading:
                    raise BodyTooSlow(
                        f"no message came within {self._seconds:g} s of the last answer.", limit=self._seconds
                    ) from None
        return self._answers.get_nowait()
