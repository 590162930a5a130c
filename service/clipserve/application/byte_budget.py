"""The limit of bytes that the bodies of all requests hold in memory, for all fronts together."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Self

from clipserve.errors import Overloaded

_NO_ROOM_SECONDS = 0.05  # until a waiting reader tries again


class Lease:
    """The bytes of one request from `address`. It grows while the body arrives.

    At the end of its block all its bytes are given back.
    """

    def __init__(self, budget: ByteBudget, address: str) -> None:
        self._budget = budget
        self.address = address
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shrink(self.size)

    def grow(self, size: int) -> None:
        """Take `size` bytes more.

        Raises:
            Overloaded: the budget, or the share of the address, has too few bytes left.
        """
        self._budget.claim(size, self.address)
        self.size += size

    async def wait_for_room(self, size: int) -> None:
        """`grow`, but wait until the budget has room instead of raising Overloaded."""
        while True:
            try:
                return self.grow(size)
            except Overloaded:
                await asyncio.sleep(_NO_ROOM_SECONDS)

    def shrink(self, size: int) -> None:
        """Give `size` bytes back."""
        self._budget.give_back(size, self.address)
        self.size -= size


class ByteBudget:
    """The limit for all requests, and for those of one address, so that slow clients leave room for others."""

    def __init__(self, limit: int, limit_per_address: int) -> None:
        """Both limits are in bytes."""
        self._limit = limit
        self._limit_per_address = limit_per_address
        self._used = 0
        self._by_address: Counter[str] = Counter()

    def lease(self, address: str) -> Lease:
        """A lease for one request. `address`: that of its client."""
        return Lease(self, address)

    def give_back(self, size: int, address: str) -> None:
        """See `Lease.shrink`."""
        self._used -= size
        self._by_address[address] -= size
        if not self._by_address[address]:
            del self._by_address[address]

    def claim(self, size: int, address: str) -> None:
        """See `Lease.grow`, which records the size."""
        for whose, used, limit in (
            ("the requests in flight", self._used, self._limit),
            ("the requests in flight from your address", self._by_address[address], self._limit_per_address),
        ):
            if used + size > limit:
                raise Overloaded(
                    f"{whose} hold {used:,} bytes, and {size:,} more do not fit into the limit of {limit:,}. Try "
                    "again later.",
                    retry_after=1,
                )
        self._used += size
        self._by_address[address] += size
