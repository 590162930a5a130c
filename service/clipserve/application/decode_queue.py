"""The images that wait to be decoded, and whose turn it is. Pure: no clock, no tasks.

Each request has an account of the bytes that were dealt to it, and next comes the request with the least. A request
that arrives begins with the fair share: what would have been dealt to a request that had been here all along. So an
image that arrives alone comes before the second image of a large request whose first is still being decoded; and a
large request has its turn again when the others have been dealt as much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class QueuedDecode(Generic[T]):
    """An image of `owner`, the request, and the bytes that decoding it takes. `dealt`: it waits no more."""

    owner: Hashable
    size: int
    item: T
    dealt: bool = False


@dataclass
class _Account(Generic[T]):
    dealt: float
    waiting: deque[QueuedDecode[T]] = field(default_factory=deque)
    running: int = 0


class DecodeQueue(Generic[T]):
    """See the module. Each image is `put`; then either `removed`, or `deal`t and, later, `ended`."""

    def __init__(self) -> None:
        self._accounts: dict[Hashable, _Account[T]] = {}  # of requests with images here, the oldest first
        self._share = 0.0

    def __len__(self) -> int:
        """How many wait. A scrape of the metrics asks from another thread."""
        return sum(len(account.waiting) for account in list(self._accounts.values()))

    def put(self, image: QueuedDecode[T]) -> None:
        """It waits, behind the others of its request."""
        self._accounts.setdefault(image.owner, _Account(self._share)).waiting.append(image)

    def first(self) -> QueuedDecode[T] | None:
        """The image whose turn it is; None where none waits."""
        waiting = [account for account in self._accounts.values() if account.waiting]
        return min(waiting, key=lambda account: account.dealt).waiting[0] if waiting else None

    def deal(self, image: QueuedDecode[T]) -> None:
        """Its decoding begins; it is `first`."""
        account = self._accounts[image.owner]
        account.waiting.popleft()
        image.dealt = True
        account.running += 1
        account.dealt += image.size

    def removed(self, image: QueuedDecode[T]) -> None:
        """Nobody wants it any more, and it has not been dealt."""
        account = self._accounts[image.owner]
        account.waiting.remove(image)
        self._forget_idle(image.owner, account)

    def ended(self, image: QueuedDecode[T]) -> None:
        """Its decoding has ended."""
        account = self._accounts[image.owner]
        self._share += image.size / len(self._accounts)
        account.running -= 1
        self._forget_idle(image.owner, account)

    def _forget_idle(self, owner: Hashable, account: _Account[T]) -> None:
        if not account.waiting and not account.running:
            del self._accounts[owner]
