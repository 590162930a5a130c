"""Reads messages with limits of memory and time.

How it works. gRPC returns a message when all of it was received. Until then the message is in the memory of gRPC's
library, which does not say how large it is. The library receives up to one message of the maximum size for each
read, and 64 KB for each call without a read. So the memory of incoming messages is the number of reads times that
size, and a fixed number of slots limits the reads.

A read without a slot waits for one. Slots go to connections in turn, and within a connection to the oldest read.
So a connection with a thousand calls gets no more than one with a single call. While a read waits, reads
that have lasted two seconds are given up, the longest first: a client that withholds the end of a message, or has a
slow line, keeps a slot only as long as no other read waits.

A read that is given up must not be cancelled. The library still holds a pointer to the buffer of the message, and
a message that arrives there without a reader is never freed. So each read is a separate task, which ends by itself
when the call does: the caller of `receive` answers the error, and that ends the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from clipserve.concurrency import clears_frame
from clipserve.errors import BodyTooSlow, Overloaded
from clipserve.quota import Lease, Quota

T = TypeVar("T")


@dataclass(frozen=True)
class ReadLimits:
    """The limits of reads.

    Attributes:
        slots: reads at a time.
        seconds: the timeout of a read, and that of the wait for its slot.
        crowded_seconds: the timeout of a read while others wait.
    """

    slots: int
    seconds: float
    crowded_seconds: float = 2.0


class ReadSlots:
    """The slots for reads of all calls."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._slots = Quota("reads of messages", limits.slots)
        self._reading: dict[asyncio.Timeout, float] = {}  # -> start time, the oldest first
        self._leaving = 0  # reads that were given up and have not ended yet
        self._check: asyncio.TimerHandle | None = None

    async def receive(self, connection: str, receive: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await `receive` in a slot, and return its result. It must end by itself when its call is answered.

        Raises:
            BodyTooSlow: the read took too long.
            Overloaded: no slot became free in time.
        """
        with self._slots.lease(connection) as slot:
            await self._wait_for(slot)
            return await self._timed(receive)

    async def _wait_for(self, slot: Lease) -> None:
        asyncio.get_running_loop().call_soon(self._make_room)
        try:
            async with asyncio.timeout(self._limits.seconds):
                await slot.wait(1)
        except TimeoutError:
            raise Overloaded(
                "many messages are being read, and this one had no turn. Try again later.", retry_after=1
            ) from None

    async def _timed(self, receive: Callable[[], Coroutine[Any, Any, T]]) -> T:
        began = asyncio.get_running_loop().time()
        timer = asyncio.timeout_at(began + self._limits.seconds)
        self._reading[timer] = began
        try:
            async with timer:
                if self._slots.waiting:
                    self._make_room()
                return await to_its_end(receive)
        except TimeoutError:
            if not timer.expired():
                raise
            raise self._too_slow(given_up=timer not in self._reading) from None
        finally:
            if self._reading.pop(timer, None) is None:
                self._leaving -= 1

    def _make_room(self) -> None:
        """Give up the reads that have lasted too long, as many as wait, and look again when the next one has."""
        now = asyncio.get_running_loop().time()
        wanted = self._slots.waiting - self._leaving
        for timer, began in list(self._reading.items())[: max(0, wanted)]:
            due = began + self._limits.crowded_seconds
            if now < due:
                self._look_again(due)
                return
            del self._reading[timer]
            self._leaving += 1
            timer.reschedule(now)

    def _look_again(self, when: float) -> None:
        if self._check is None:
            self._check = asyncio.get_running_loop().call_at(when, self._checked)

    def _checked(self) -> None:
        self._check = None
        self._make_room()

    def _too_slow(self, *, given_up: bool) -> BodyTooSlow:
        limit = self._limits.crowded_seconds if given_up else self._limits.seconds
        others = ", and others waited for its place" if given_up else ""
        return BodyTooSlow(
            f"the message was not whole within {limit:g} s{others}. Send it faster, or try again later.",
            limit=limit,
        )


@clears_frame
async def to_its_end(receive: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await `receive` and return its result. A caller that is cancelled does not cancel it."""
    task = asyncio.get_running_loop().create_task(receive())
    task.add_done_callback(_looked_at)
    return await asyncio.shield(task)


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Nobody else looks at the error of a read that was given up; asyncio would log it."""
    if not task.cancelled():
        task.exception()
