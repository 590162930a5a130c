"""How much of something callers may have at once: bytes, connections, calls, fetches. Pure: no clock, no tasks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from typing import Self

from clipserve.errors import Overloaded
from clipserve.turns import Turns


class Quota:
    """At most `limit` in all, and `per_caller` of one caller, so that nobody can take it all. For one event loop.

    Attributes:
        used: what all callers have.
        by_caller: what each has; a caller that has nothing is forgotten.
    """

    def __init__(
        self, what: str, limit: int, per_caller: int | None = None, *, retry_after: float = 1.0
    ) -> None:
        """All of it is free. `what`: is counted, in the plural, for errors. `per_caller`: None: all of it."""
        self.what = what
        self.limit = limit
        self.per_caller = limit if per_caller is None else min(per_caller, limit)
        self.used = 0
        self.by_caller = Counter[str]()
        self._retry_after = retry_after
        self._waiting = Turns[tuple[int, asyncio.Future[None]]]()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self, caller: str, amount: int = 1) -> None:
        """Take so much.

        Raises:
            Overloaded: it does not fit now.
        """
        if not self._fits(caller, amount):
            raise self._refusal(caller, amount)
        self.add(caller, amount)

    def give(self, caller: str, amount: int = 1) -> None:
        """Give so much back."""
        self.add(caller, -amount)
        if self._waiting:
            self._grant()

    async def wait(self, caller: str, amount: int = 1, owner: Hashable = None) -> None:
        """Take so much when it fits. Callers have it in turn, and so the owners (the requests) of a caller.

        What does not fit yet holds up all behind it, else small amounts could pass it for ever. What is more than
        its own caller may have now holds up only this caller.

        Raises:
            Overloaded: it can never fit.
        """
        if amount > self.per_caller:
            raise self._refusal(caller, amount)
        if not self._waiting and self._fits(caller, amount):
            self.add(caller, amount)
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.put((amount, granted), caller, owner)
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                self._waiting.discard((amount, granted), caller, owner)
                self._grant()  # what it held up may fit
            else:  # granted in the same moment
                self.give(caller, amount)
            raise

    def lease(self, caller: str, amount: int = 0) -> Lease:
        """A block that gives back what it has taken. `amount`: is taken now; raises Overloaded."""
        lease = Lease(self, caller)
        if amount:
            lease.grow(amount)
        return lease

    def _is_own(self, caller: str, amount: int) -> bool:
        return self.by_caller.get(caller, 0) + amount <= self.per_caller  # a Counter's own zero is slow

    def _fits(self, caller: str, amount: int) -> bool:
        return self.used + amount <= self.limit and self._is_own(caller, amount)

    def add(self, caller: str, amount: int) -> None:
        """Take so much whether it fits or not."""
        self.used += amount
        has = self.by_caller.get(caller, 0) + amount
        if has:
            self.by_caller[caller] = has
        else:
            self.by_caller.pop(caller, None)

    def _grant(self) -> None:
        while (caller := self._next()) is not None:
            amount, granted = self._waiting.pop(caller)
            if not granted.done():  # else it was cancelled
                self.add(caller, amount)
                granted.set_result(None)

    def _next(self) -> str | None:
        for caller in self._waiting.callers():
            amount, granted = self._waiting.first(caller)
            if granted.done() or self._fits(caller, amount):
                return caller
            if self._is_own(caller, amount):
                return None
        return None

    def _refusal(self, caller: str, amount: int) -> Overloaded:
        has, whose, limit = f"there are {self.used:,}", "all callers", self.limit
        if not self._is_own(caller, amount) and self.per_caller < limit:
            has, whose, limit = f"you have {self.by_caller[caller]:,}", "one caller", self.per_caller
        return Overloaded(
            f"{has} {self.what}, and {amount:,} more do not fit into the limit of {whose}, {limit:,}. Try again "
            "when others have ended.",
            retry_after=self._retry_after,
        )


class Lease:
    """What one request of `caller` has of a quota: `size`. At the end of its block all of it is given back."""

    def __init__(self, quota: Quota, caller: str) -> None:
        self._quota = quota
        self.caller = caller
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shrink(self.size)

    def grow(self, amount: int) -> None:
        """Take so much more. Raises Overloaded: it does not fit now."""
        self._quota.take(self.caller, amount)
        self.size += amount

    def add(self, amount: int) -> None:
        """Take so much more whether it fits or not: what is there already, and counts against the next."""
        self._quota.add(self.caller, amount)
        self.size += amount

    async def wait(self, amount: int, owner: Hashable = None) -> None:
        """Take so much more when it fits. Raises Overloaded: it can never fit. See `Quota.wait`."""
        await self._quota.wait(self.caller, amount, owner)
        self.size += amount

    def shrink(self, amount: int) -> None:
        """Give so much back."""
        if amount:
            self._quota.give(self.caller, amount)
            self.size -= amount
