"""The order among callers: the first item of each, then the second of each. So one with a thousand items delays
another's by one. Pure: no clock, no tasks, no threads.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Items that wait. Callers take turns, and in the same way the owners of a caller's items: its requests.

    Items of one owner stay in their order. Every method takes the same time, however many wait, but for `discard`,
    which looks through the items of one owner.
    """

    def __init__(self) -> None:
        self._callers: OrderedDict[str, OrderedDict[Hashable, deque[T]]] = OrderedDict()  # the next one first
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, item: T, caller: str = "", owner: Hashable = None) -> None:
        """Add an item behind the others of its owner."""
        self._callers.setdefault(caller, OrderedDict()).setdefault(owner, deque()).append(item)
        self._size += 1

    def callers(self) -> Iterator[str]:
        """Those with items, the next one first."""
        return iter(self._callers)

    def first(self, caller: str | None = None) -> T:
        """The next item, or that of this caller. Raises KeyError: there is none."""
        owners = self._callers[next(self.callers(), "") if caller is None else caller]
        return next(iter(owners.values()))[0]

    def pop(self, caller: str | None = None) -> T:
        """Remove and return `first`. Its caller comes last now, and so does its owner. Raises KeyError."""
        whose = next(self.callers(), "") if caller is None else caller
        owners = self._callers.pop(whose)
        owner, items = owners.popitem(last=False)
        item = items.popleft()
        self._size -= 1
        if items:
            owners[owner] = items
        if owners:
            self._callers[whose] = owners
        return item

    def discard(self, item: T, caller: str = "", owner: Hashable = None) -> None:
        """Remove this item, if it is here. The order of the others stays."""
        owners = self._callers.get(caller, OrderedDict())
        items = owners.get(owner, deque())
        if item not in items:
            return
        items.remove(item)
        self._size -= 1
        if not items:
            del owners[owner]
        if not owners:
            del self._callers[caller]
