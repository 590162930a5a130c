"""Counts recent use in windows of some seconds, and computes when a cost fits.

The strategy is the sliding window counter of the library `limits`. With a limit L for a window of E seconds,
`previous` used in the previous window and `current` in this one, a cost fits if

    floor(previous * left / E) + current + cost <= L

where `left` is the number of seconds until the previous window has slid out. So an unused key has L at once, and
then a steady L / E a second. This takes two numbers a key, whatever the cost: the moving window would keep an
entry for each row and byte. A fixed window allows 2 L around its border, and counts refused costs.

In Redis, `limits` counts, in one atomic step. In this process a dozen lines do: the memory storage of `limits`
starts a task, scans all counters at each hit, and uses a clock that may be set back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import floor
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from limits import RateLimitItem

REDIS_SECONDS = 0.25  # for an answer of Redis: a thousand times the usual


class RateCounter(Protocol):
    """Counts the use of many names."""

    async def take(self, item: RateLimitItem, name: str, cost: int) -> float | None:
        """Count `cost` if it fits, else return the seconds until it does.

        It must be at most what the item allows in a window.
        """


class LocalRateCounter:
    """`RateCounter` in this process. It keeps a few numbers of each name, for ever."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # (name, unit) -> number of the window, previous, current
        self._used: dict[tuple[str, str], tuple[float, int, int]] = {}

    async def take(self, item: RateLimitItem, name: str, cost: int) -> float | None:
        expiry = item.get_expiry()
        number, since = divmod(self._clock(), expiry)
        left = expiry - since
        last, previous, current = self._used.get((name, item.namespace), (number, 0, 0))
        if number != last:
            previous, current = (current if number == last + 1 else 0), 0
        if floor(previous * left / expiry) + current + cost <= item.amount:
            self._used[name, item.namespace] = number, previous, current + cost
            return None
        return seconds_until(item.amount - cost, expiry, (previous, left, current, left + expiry))


def seconds_until(room: int, expiry: int, window: tuple[int, float, int, float]) -> float:
    """The seconds until at most `room` counts, without further use.

    `window`: the counts of the previous window and of this one, each with its time to live, as `limits` has them:
    the latter lives until it has slid out, `expiry` seconds after its end.
    """
    previous, left, current, lives = window
    if current <= room:
        return max(0.0, left - _left_at(room - current, expiry, previous))
    until_its_end = max(0.0, lives - expiry)
    return until_its_end + expiry - _left_at(room, expiry, current)


def _left_at(room: int, expiry: int, count: int) -> float:
    """The largest `left` of a window with this count for which at most `room` of it counts."""
    return min(float(expiry), expiry * (room + 1) / count) if count else float(expiry)
