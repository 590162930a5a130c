"""The images that wait to be decoded, and their order: fair queueing by bytes. Pure: no clock, no tasks.

Each caller has an account of the bytes of its images that were started, and the caller with the smallest account
comes next; in the same way the requests of a caller. Who is new begins with the fair share: the account of one that
had been here all along. So a single image comes before the second image of a large request whose first is still
being decoded; and a large request has its turn again when the others have had as many bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class QueuedDecode(Generic[T]):
    """A waiting image. `owner`: its request. `size`: bytes to decode it. `dealt`: its decoding has begun."""

    owner: Hashable
    size: int
    item: T
    caller: str = ""
    dealt: bool = False


@dataclass
class _Caller:
    dealt: float
    requests: int = 0  # with images here
    share: float = 0.0  # the fair one of a request


@dataclass
class _Account(Generic[T]):
    caller: _Caller
    dealt: float
    waiting: deque[QueuedDecode[T]] = field(default_factory=deque)
    running: int = 0


class DecodeQueue(Generic[T]):
    """The queue. Each image is `put`, and then either `removed`, or `dealt` and later `ended`."""

    def __init__(self) -> None:
        self._accounts: dict[Hashable, _Account[T]] = {}  # of requests with images here, the oldest first
        self._callers: dict[str, _Caller] = {}  # with images here
        self._share = 0.0  # the fair one of a caller

    def __len__(self) -> int:
        """The number of waiting images. The thread of the metrics calls this."""
        return sum(len(account.waiting) for account in list(self._accounts.values()))

    def put(self, image: QueuedDecode[T]) -> None:
        """Add an image behind the others of its request."""
        account = self._accounts.get(image.owner)
        if account is None:
            caller = self._callers.setdefault(image.caller, _Caller(self._share))
            caller.requests += 1
            account = self._accounts[image.owner] = _Account(caller, caller.share)
        account.waiting.append(image)

    def dealt(self, room: int) -> QueuedDecode[T] | None:
        """Begin with the image whose turn it is, and return it; None: none waits, or it takes more than `room`.

        One that does not fit holds up those behind it: else small images could pass it for ever.
        """
        waiting = [account for account in self._accounts.values() if account.waiting]
        account = min(waiting, key=lambda account: (account.caller.dealt, account.dealt), default=None)
        if account is None or account.waiting[0].size > room:
            return None
        image = account.waiting.popleft()
        image.dealt = True
        account.running += 1
        account.dealt += image.size
        account.caller.dealt += image.size
        return image

    def removed(self, image: QueuedDecode[T]) -> None:
        """Remove an image whose decoding has not begun."""
        account = self._accounts[image.owner]
        account.waiting.remove(image)
        self._forget_idle(image, account)

    def ended(self, image: QueuedDecode[T]) -> None:
        """The decoding of `image` has ended."""
        account = self._accounts[image.owner]
        self._share += image.size / len(self._callers)
        account.caller.share += image.size / account.caller.requests
        account.running -= 1
        self._forget_idle(image, account)

    def _forget_idle(self, image: QueuedDecode[T], account: _Account[T]) -> None:
        if account.waiting or account.running:
            return
        del self._accounts[image.owner]
        account.caller.requests -= 1
        if not account.caller.requests:
            del self._callers[image.caller]
