"""What a build costs the key that has put the label set: a row for each prompt and each example.

A build takes longer than a request may, and so it waits for the rate instead of being refused. It lets other builds
go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from clipserve.access.gate import when_there_is_room
from clipserve.errors import LabelSetFailed, PermissionDenied, Unauthenticated

Charge = Callable[[int], Awaitable[None]]


@dataclass
class Account:
    """Rows that are paid and not encoded yet. `charge` takes them from the rate; None: they cost nothing.

    They are paid one at a time: so a key pays for what is more than its rate allows at once, and goes on with other
    requests beside it.
    """

    charge: Charge | None = None
    paid: int = 0
    needed: int = 0

    async def require(self, rows: int) -> None:
        """Before so many rows are encoded; then `spend` them.

        Raises:
            RateLimited: the rate has no room for all of them now; `save` until it has.
            LabelSetFailed: the key is not known any more.
        """
        self.needed = rows
        try:
            while self.charge and self.paid < rows:
                await self.charge(1)
                self.paid += 1
        except (Unauthenticated, PermissionDenied):
            raise LabelSetFailed(
                "the key that has put it was taken away before all of it was built: put it again."
            ) from None

    def spend(self, rows: int) -> None:
        """They are encoded."""
        self.paid = max(0, self.paid - rows)

    async def save(self) -> None:
        """Until what was required last is paid. Raises LabelSetFailed."""
        await when_there_is_room(partial(self.require, self.needed))
