"""Charges a build to the key that put the label set: a row for each prompt and each example.

A build may take longer than a request, so it waits for the rate instead of being refused. Other builds continue
meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from clipserve.errors import LabelSetFailed, PermissionDenied, Unauthenticated

Charge = Callable[[int], Awaitable[None]]


@dataclass
class Account:
    """Rows that are charged and not encoded yet. `charge` takes them from the rate; None: they are free.

    Rows are charged one at a time. So a key can pay for more than its rate allows at once, and can still send other
    requests.
    """

    charge: Charge | None = None
    paid: int = 0

    async def require(self, rows: int) -> None:
        """Charge `rows` before they are encoded. Call `spend` afterwards.

        Raises:
            RateLimited: the rate does not allow all of them now; those that are charged stay so.
            LabelSetFailed: the key was removed.
        """
        try:
            while self.charge and self.paid < rows:
                await self.charge(1)
                self.paid += 1
        except (Unauthenticated, PermissionDenied):
            raise LabelSetFailed(
                "the key that put it was removed before its build was complete: put it again."
            ) from None

    def spend(self, rows: int) -> None:
        """`rows` were encoded."""
        self.paid = max(0, self.paid - rows)
