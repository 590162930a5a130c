"""What was used lately, counted in windows of some seconds; how much of it still counts, and until when.

The strategy is the sliding window counter of the library `limits`. With a limit L for a window of E seconds,
`previous` used in the window before and `current` in this one, a cost fits if

    floor(previous * left / E) + current + cost <= L

where `left` are the seconds until the window before has slid out. So whoever has used nothing has L at once, and
after that L / E a second, steadily. It takes two numbers a key, whatever the cost: the moving window would keep an
entry for each row and byte. A fixed window lets 2 L pass around its border, and counts what it refuses.

In Redis it is `limits` that counts, in one step. In this process a dozen lines do: its storage in memory starts a
task and looks through all counters at each hit, and follows a clock that may be set back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from typing import Protocol

from limits import RateLimitItem


@dataclass(frozen=True)
class Refusal:
    """Seconds until the whole cost fits, and until the least does."""

    seconds: float
    seconds_for_one: float


class Windows(Protocol):
    """Counts of many names."""

    async def take(self, item: RateLimitItem, name: str, cost: int) -> Refusal | None:
        """Count it, if it fits. `cost` is at most what the item allows in a window."""


class LocalWindows:
    """`Windows` in this process. What it keeps of a name is a few numbers, and stays."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: dict[
            tuple[str, str], tuple[float, int, int]
        ] = {}  # -> number of the window, previous, current

    async def take(self, item: RateLimitItem, name: str, cost: int) -> Refusal | None:
        expiry = item.get_expiry()
        number, since = divmod(self._clock(), expiry)
        left = expiry - since
        last, previous, current = self._used.get((name, item.namespace), (number, 0, 0))
        if number != last:
            previous, current = (current if number == last + 1 else 0), 0
        if floor(previous * left / expiry) + current + cost <= item.amount:
            self._used[name, item.namespace] = number, previous, current + cost
            return None
        return refusal(item, cost, (previous, left, current, left + expiry))


Window = tuple[int, float, int, float]


def refusal(item: RateLimitItem, cost: int, window: Window) -> Refusal:
    """Of a cost that does not fit now. `window`: see `seconds_until`."""
    return Refusal(*(seconds_until(item.amount - each, item.get_expiry(), window) for each in (cost, 1)))


def seconds_until(room: int, expiry: int, window: Window) -> float:
    """Until at most `room` counts, if nothing else is used meanwhile.

    `window`: the counts of the window before and of this one, each with its time to live, as `limits` has them: the
    latter lives until it has slid out, `expiry` seconds after its end.
    """
    previous, left, current, lives = window
    if current <= room:
        return max(0.0, left - _left_at(room - current, expiry, previous))
    until_its_end = max(0.0, lives - expiry)
    return until_its_end + expiry - _left_at(room, expiry, current)


def _left_at(room: int, expiry: int, count: int) -> float:
    """The most seconds that may be left of a window with this count, so that at most `room` of it counts."""
    return min(float(expiry), expiry * (room + 1) / count) if count else float(expiry)
