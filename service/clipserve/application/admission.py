"""Refuses a request at once if it could not be answered in time.

How it works. Work is counted in rows: images, and texts that have to be encoded. Each kind has its own lane,
because their costs differ. A lane measures seconds per row from the intervals at which rows are encoded while there
is work; an image that is refused or broken teaches nothing. So the measure holds for any backend, batched or
remote, and includes other work on the cores.

Callers (keys, or addresses without keys) take turns in the queues behind this, row by row, and so do the requests
of a caller. So a request of n rows waits for at most n rows of each other request of its caller: one of a thousand
rows is not ahead of one that has a single row. While so many rows of its caller have their turn, m with its own, it
waits for at most m rows of each other caller. What is ahead of a request is therefore

    seconds per row * (sum over its caller's others in the lane of min(their rows, n)
                       + sum over the other callers of min(all their rows, m))

So a caller alone may fill the queue, and another one finds a place all the same. A request is refused if that is
more than `max_queue_seconds`, or if that and the request's own rows do not fit into the rest of its deadline. A
request that finds its lanes empty is not refused: estimates can be wrong. But if its own rows take many times the
rest of its deadline, it is refused instead of computing for nothing until then.

While a lane is empty nothing corrects its measure: after a slow minute, requests could be refused for ever. So the
measure of an empty lane decays to that of the start, when there was no other work. A request is too large only if
it would be so by that measure, too; until then the service is overloaded, and a retry may succeed.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Self

from clipserve.errors import ClipError, DeadlineExceeded, Overloaded, TooMany
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import caller, current, remaining

# A moving average: after so many seconds of work an old measurement counts 1/e. This is longer than a large request
# takes, because its rows count as done only when the last one is.
_MEMORY = 10.0
# In an empty lane, what a row takes beyond the measure of the start is 1/e of it after so many seconds.
_RECOVERY = 30.0
# A single row may have been measured at three times what it costs among others.
_HOPELESS = 4


class _Lane:
    """The requests in flight that need one of the towers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Caller -> rows of a request -> how many such requests. Without empty ones.
        self._sizes: dict[str, dict[int, int]] = {}
        self._entered: dict[int, float] = {}  # when each request in flight came, the earliest first
        self._numbers = itertools.count()
        self._last_change = 0.0  # when rows were last encoded, or the first of those in flight arrived
        self._seconds = 0.0  # of work, decaying
        self._rows = 0.0  # done in those seconds
        self.at_start = 0.0  # seconds per row without other work; 0: not measured

    @property
    def seconds_per_row(self) -> float:
        measured = self._seconds / self._rows if self._rows else 0.0
        if self._sizes or measured <= self.at_start:
            return measured
        kept = math.exp((self._last_change - self._clock()) / _RECOVERY)
        return self.at_start + (measured - self.at_start) * kept

    def ahead(self, rows: int, whose: str = "") -> float:
        """Seconds until a request of so many rows of this caller would have its turn."""
        own = ahead = 0
        if sizes := self._sizes.get(whose):
            own = ahead = sum([min(size, rows) * n for size, n in list(sizes.items())])
        if len(self._sizes) > (sizes is not None):
            for theirs in list(self._sizes.values()):  # copies: the metrics ask in another thread
                if theirs is not sizes:
                    ahead += min(sum(size * n for size, n in list(theirs.items())), own + rows)
        return self.seconds_per_row * ahead if ahead else 0.0

    def enter(self, rows: int, whose: str) -> int:
        """Returns a number for `leave`."""
        now = self._clock()
        if not self._sizes:
            self._seconds = self.seconds_per_row * self._rows
            self._last_change = now
        self._entered[number := next(self._numbers)] = now
        own = self._sizes.setdefault(whose, {})
        own[rows] = own.get(rows, 0) + 1
        return number

    def leave(self, number: int, rows: int, whose: str, *, done: int) -> None:
        """`done`: how many of the rows were encoded. Only these say what a row takes."""
        del self._entered[number]
        own = self._sizes[whose]
        own[rows] -= 1
        if not own[rows]:
            del own[rows]
        if not own:
            del self._sizes[whose]
        now = self._clock()
        if done > 0:
            self._learn(done, now - self._last_change)
            self._last_change = now
        # Time that passed only with what was not encoded is no measure either.
        self._last_change = max(self._last_change, next(iter(self._entered.values()), now))

    def learn_at_start(self, rows: int, seconds: float) -> None:
        self._learn(rows, seconds)
        self.at_start, self._last_change = seconds / rows, self._clock()

    def _learn(self, rows: int, seconds: float) -> None:
        kept = math.exp(-seconds / _MEMORY)
        self._seconds = self._seconds * kept + seconds
        self._rows = self._rows * kept + rows


class InFlight:
    """The rows of a request, which are in flight in its block. `rows`: by lane."""

    def __init__(self, admission: Admission, rows: dict[str, int], whose: str) -> None:
        self.rows = rows
        self._admission = admission
        self._failed = 0
        self._numbers: dict[str, int] = {}  # of lanes
        self._whose = whose

    def __enter__(self) -> Self:
        for lane, rows in self.rows.items():
            self._numbers[lane] = self._admission.lanes[lane].enter(rows, self._whose)
            self._admission.in_flight[lane] += rows
        return self

    def __exit__(self, error: object, *_: object) -> None:
        # What a request waited until encoders were loaded says nothing of the next one.
        measured = error is None and "load" not in getattr(current(), "stages", ())
        for lane, rows in self.rows.items():
            done = rows - (0 if lane == "text" else self._failed) if measured else 0
            self._admission.lanes[lane].leave(self._numbers[lane], rows, self._whose, done=done)
            self._admission.in_flight[lane] -= rows

    def failed(self, images: int) -> None:
        """So many of its images have no vector: they were refused, or are broken. The measure is without them."""
        self._failed += images


class Admission:
    """The lanes of one model. See the module."""

    def __init__(
        self, max_queue_seconds: float, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_queue_seconds = max_queue_seconds
        self.lanes = {lane: _Lane(clock) for lane in ("image", "text")}
        self.in_flight = {"image": 0, "text": 0}  # rows
        metrics.rows_in_flight.append(lambda: self.in_flight)
        metrics.work_ahead.append(self._seconds_ahead)

    def admit(self, images: int = 0, texts: int = 0, *, refuse: bool = True) -> InFlight:
        """A block in which these rows count as in flight; until it is entered nothing counts.

        `refuse`: false for rows of a request that was admitted before they were here.

        Raises:
            Overloaded: too much work is ahead. It has the seconds until a retry.
            TooMany: the deadline is too short for the request even without work ahead.
            DeadlineExceeded: the deadline is too short for a single row.
        """
        rows = {"image": images} if images else {}
        if texts:
            rows["text"] = texts
        whose = caller()
        if refuse:
            self._refuse_if_late(rows, whose)
        return InFlight(self, rows, whose)

    def learn_at_start(self, lane: str, rows: int, seconds: float) -> None:
        """Record that `rows` took `seconds` without other work."""
        self.lanes[lane].learn_at_start(rows, seconds)

    def _seconds_ahead(self) -> dict[str, float]:
        """Of everything in flight, by tower; called in another thread."""
        return {name: lane.ahead(sys.maxsize) for name, lane in self.lanes.items()}

    def _refuse_if_late(self, needs: Mapping[str, int], whose: str) -> None:
        """Raise the errors of `admit`. `needs`: rows by lane."""
        ahead = own = 0.0
        for name, rows in needs.items():
            lane = self.lanes[name]
            ahead, own = max(ahead, lane.ahead(rows, whose)), max(own, lane.seconds_per_row * rows)
        if ahead > self._max_queue_seconds:
            raise Overloaded(
                f"{ahead:.1f} s of work are queued; the limit is {self._max_queue_seconds:g} s. "
                "Try again later, or add capacity.",
                retry_after=ahead - self._max_queue_seconds / 2,
            )
        left = remaining(math.inf)
        if own > _HOPELESS * left:
            lanes = [(self.lanes[name], rows) for name, rows in needs.items()]
            raise _hopeless(*max(lanes, key=lambda each: each[0].seconds_per_row * each[1]), left)
        if ahead and ahead + own > left:
            raise Overloaded(
                f"{ahead:.1f} s of work are queued and the request itself takes about {own:.1f} s, but {left:.1f} "
                "s are left to its deadline. Try again later, or send fewer items at once.",
                retry_after=ahead,
            )


def _hopeless(lane: _Lane, rows: int, left: float) -> ClipError:
    """The error of a request of so many rows that cannot be answered in the `left` seconds."""
    now = lane.seconds_per_row
    usual = min(now, lane.at_start or now)
    if usual * rows <= _HOPELESS * left:
        return Overloaded(
            f"the request takes about {now * rows:.0f} s, {now / usual:.0f} times what it usually takes, and "
            f"{left:.1f} s are left to its deadline. Try again later.",
            retry_after=min(now * rows, _RECOVERY),
        )
    fit = int(left / usual)
    if not fit:  # no request is so small: the caller has given it too little time
        return DeadlineExceeded(
            f"{left:.2g} s are left to the deadline, and one image or text takes about {usual:.2g} s.",
            limit=left,
            actual=usual,
        )
    return TooMany(
        f"the request is as much work as {rows:,} images or texts, about {usual * rows:.0f} s, and {left:.1f} s "
        f"are left to its deadline: about {fit:,} fit. Send fewer at once; a label counts once a template.",
        limit=fit,
        actual=rows,
    )
