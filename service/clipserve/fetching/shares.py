"""Shares a limited number of something, places or bytes, among callers: nobody can take it all.

How it works. A caller gets more only if it then holds at most as much as stays free; a caller that holds nothing
gets what is free. So a single caller has half, two have a third each, and the rest is there at once for the next
caller ("dynamic thresholds": A. K. Choudhury, E. L. Hahne, IEEE/ACM Transactions on Networking 6, 1998). What does
not fit waits: what one caller waits for in order, and callers take turns.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from clipserve.errors import Overloaded
from clipserve.telemetry.request import remaining

_PART = (
    1 / 3
)  # of the time to its deadline a request waits: with a fetch of 5 s after it, it is answered in its 10 s


@dataclass
class Held:
    """What is held in a block of `Shares.awaited`. `until`: it is given back only when this is done too."""

    until: asyncio.Future[Any] | None = None


_Waiting = tuple[int, asyncio.Future[None]]  # how much, and done when it is granted


class Shares:
    """So many for all callers; see the module. For one event loop."""

    def __init__(self, what: str, limit: int) -> None:
        """`what`: is limited, for errors. More than `limit` at once counts as `limit`."""
        self._what = what
        self._limit = self._free = limit
        self._held = Counter[str]()  # by caller
        self._waiting: dict[str, deque[_Waiting]] = {}  # by caller; whose turn it is comes first

    @contextmanager
    def taken(self, caller: str, amount: int) -> Iterator[None]:
        """Hold so much in this block.

        Raises:
            Overloaded: it does not fit now.
        """
        amount = min(amount, self._limit)
        if not self._fits(caller, amount):
            raise Overloaded(
                f"{amount:,} more {self._what} do not fit: you have {self._held[caller]:,}, and {self._free:,} of "
                f"{self._limit:,} are free, of which one caller gets half. Try again later.",
                retry_after=1,
            )
        self._take(caller, amount)
        try:
            yield
        finally:
            self._give_back(caller, amount)

    @asynccontextmanager
    async def awaited(self, caller: str, amount: int) -> AsyncIterator[Held]:
        """Hold so much in this block, and wait for it first.

        Raises:
            Overloaded: waiting took a third of the time that was left to the request's deadline.
        """
        amount = min(amount, self._limit)
        seconds = remaining(math.inf) * _PART
        try:
            async with asyncio.timeout(seconds if seconds < math.inf else None):
                await self._wait(caller, amount)
        except TimeoutError:
            raise Overloaded(
                f"there were no {self._what} for {seconds:.1f} s, a third of the time that this request had; "
                "other images have them. Try again later.",
                retry_after=1,
            ) from None
        held = Held()
        try:
            yield held
        finally:
            if held.until and not held.until.done():
                held.until.add_done_callback(lambda _: self._give_back(caller, amount))
            else:
                self._give_back(caller, amount)

    async def _wait(self, caller: str, amount: int) -> None:
        granted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append((amount, granted))
        self._grant(caller)
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():  # granted just now, and nobody takes it
                self._give_back(caller, amount)
            raise

    def _fits(self, caller: str, amount: int) -> bool:
        held, free = self._held[caller], self._free - amount
        return free >= 0 if not held else held + amount <= free

    def _take(self, caller: str, amount: int) -> None:
        self._free -= amount
        self._held[caller] += amount

    def _give_back(self, caller: str, amount: int) -> None:
        self._free += amount
        self._held[caller] -= amount
        if not self._held[caller]:
            del self._held[caller]
        for waiting in list(self._waiting):
            self._grant(waiting)

    def _grant(self, caller: str) -> None:
        """Give this caller what fits. A caller that got something is the last one next time."""
        queue = self._waiting[caller]
        while queue and (queue[0][1].done() or self._fits(caller, queue[0][0])):
            amount, granted = queue.popleft()
            if not granted.done():  # else it was cancelled
                self._take(caller, amount)
                granted.set_result(None)
                self._waiting[caller] = self._waiting.pop(caller)
        if not queue:
            del self._waiting[caller]
