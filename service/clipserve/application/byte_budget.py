"""The limit of bytes that the bodies of all requests hold in memory, for all fronts together."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
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
        budget, address = self._budget, self.address
        for whose, used, limit in (
            ("the requests in flight", budget.used, budget.limit),
            (
                "the requests in flight from your address",
                budget.by_address[address],
                budget.limit_per_address,
            ),
        ):
            if used + size > limit:
                raise Overloaded(
                    f"{whose} hold {used:,} bytes, and {size:,} more do not fit into the limit of {limit:,}. Try "
                    "again later.",
                    retry_after=1,
                )
        budget.used += size
        budget.by_address[address] += size
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
        budget, address = self._budget, self.address
        budget.used -= size
        budget.by_address[address] -= size
        if not budget.by_address[address]:
            del budget.by_address[address]
        self.size -= size


@dataclass
class ByteBudget:
    """The limit for all requests, and for those of one address, so that slow clients leave room for others.

    All are in bytes. `used`, `by_address`: what leases have taken.
    """

    limit: int
    limit_per_address: int
    used: int = 0
    by_address: Counter[str] = field(default_factory=Counter)

    def lease(self, address: str) -> Lease:
        """A lease for one request. `address`: that of its client."""
        return Lease(self, address)
