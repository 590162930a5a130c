"""Queues in which callers take turns, so that one with a thousand requests delays another's by one of them."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from clipserve.concurrency import clears_frame
from clipserve.telemetry.request import caller

T = TypeVar("T")


class TurnQueue(Generic[T]):
    """The jobs of a thread: like `queue.SimpleQueue`, but `get` returns the oldest job of each caller in turn.

    The caller is that of the request for which `put` is called.
    """

    def __init__(self) -> None:
        self._count = queue.SimpleQueue[None]()  # a token for each job
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, deque[T]] = OrderedDict()  # by caller, the next one first

    def put(self, job: T) -> None:
        """Add a job behind the others of its caller."""
        with self._lock:
            self._jobs.setdefault(caller(), deque()).append(job)
        self._count.put(None)

    def get(self) -> T:
        """Wait for a job, and remove it."""
        self._count.get()
        return self._next()

    def get_nowait(self) -> T:
        """Remove a job. Raises queue.Empty: there is none."""
        self._count.get_nowait()
        return self._next()

    def _next(self) -> T:
        with self._lock:
            whose, jobs = self._jobs.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._jobs[whose] = jobs  # after the others
        return job


class Turns:
    """Places for so many at a time. Who waits for one has it in turn: the first of each caller, then the second.

    Attributes:
        free: places that nobody has.
        waiting: how many wait.
    """

    def __init__(self, places: int) -> None:
        self.free = places
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = (
            OrderedDict()
        )  # by caller, the next first

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it in the block."""
        if not self.take():
            await self.wait(caller, self.join(caller))
        try:
            yield
        finally:
            self.pass_on()

    def take(self) -> bool:
        """Take a free place; False: there is none."""
        self.free -= (free := self.free > 0)
        return free

    def join(self, caller: str) -> asyncio.Future[None]:
        """Wait behind the others of this caller; the result is for `wait`."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(place)
        return place

    @clears_frame
    async def wait(self, caller: str, place: asyncio.Future[None]) -> None:
        """Until the place is there."""
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given in the same moment
                self.pass_on()
            elif (queue := self._waiting.get(caller)) and place in queue:
                queue.remove(place)
                if not queue:
                    del self._waiting[caller]
            raise

    def pass_on(self) -> None:
        """Give a place back: the first of the next caller has it."""
        while self._waiting:
            caller, queue = self._waiting.popitem(last=False)
            place = queue.popleft()
            if queue:
                self._waiting[caller] = queue  # after the others
            if not place.cancelled():
                place.set_result(None)
                return
        self.free += 1
