"""The bytes that the bodies of all requests may hold in memory together: one budget for all fronts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Overloaded


class Lease:
    """The share of one request; it grows while its body arrives."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    def grow(self, size: int) -> None:
        """Take `size` bytes more.

        Raises:
            Overloaded: the others have left too few.
        """
        self._budget.claim(size)
        self.size += size


class ByteBudget:
    """`limit`: bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """For one request; on leaving the block its bytes are free again."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self._used -= lease.size

    def claim(self, size: int) -> None:
        """See `Lease.grow`, which remembers what it has claimed."""
        if self._used + size > self._limit:
            raise Overloaded(
                f"the requests in flight hold {self._used:,} bytes, and {size:,} more do not fit into the limit of "
                f"{self._limit:,}. Try again later.",
                retry_after=1,
            )
        self._used += size
