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


class _ByCaller(Generic[T]):
    """Items of callers: the first of each caller, then the second of each."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, deque[T]] = OrderedDict()  # by caller, the next one first

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def put(self, whose: str, item: T) -> None:
        self._items.setdefault(whose, deque()).append(item)

    def pop(self) -> T:
        """Remove the next item. Raises KeyError: there is none."""
        whose, items = self._items.popitem(last=False)
        item = items.popleft()
        if items:
            self._items[whose] = items  # after the others
        return item

    def discard(self, whose: str, item: T) -> None:
        """Remove this item, if it is here."""
        if (items := self._items.get(whose)) and item in items:
            items.remove(item)
            if not items:
                del self._items[whose]


class TurnQueue(Generic[T]):
    """The jobs of a thread: like `queue.SimpleQueue`, but `get` returns the oldest job of each caller in turn.

    The caller is that of the request for which `put` is called.
    """

    def __init__(self) -> None:
        self._count = queue.SimpleQueue[None]()  # a token for each job
        self._lock = threading.Lock()
        self._jobs = _ByCaller[T]()

    def put(self, job: T) -> None:
        """Add a job behind the others of its caller."""
        with self._lock:
            self._jobs.put(caller(), job)
        self._count.put(None)

    def get(self) -> T:
        """Wait for a job, and remove it."""
        self._count.get()
        with self._lock:
            return self._jobs.pop()

    def get_nowait(self) -> T:
        """Remove a job. Raises queue.Empty: there is none."""
        self._count.get_nowait()
        with self._lock:
            return self._jobs.pop()


class Turns:
    """Places for so many at a time. Who waits for one has it in turn: the first of each caller, then the second.

    `free`: the places that nobody has.
    """

    def __init__(self, places: int) -> None:
        self.free = places
        self._waiting = _ByCaller[asyncio.Future[None]]()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

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
        self._waiting.put(caller, place)
        return place

    @clears_frame
    async def wait(self, caller: str, place: asyncio.Future[None]) -> None:
        """Until the place is there."""
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._waiting.discard(caller, place)
            else:  # it was given in the same moment
                self.pass_on()
            raise

    def pass_on(self) -> None:
        """Give a place back: the first of the next caller has it."""
        while self._waiting:
            place = self._waiting.pop()
            if not place.cancelled():
                place.set_result(None)
                return
        self.free += 1
