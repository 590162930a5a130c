"""The limit at the door: refuse at once what could not be answered in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Overloaded
from service.metrics import Metrics

_SMOOTHING = 0.1  # weight of the newest request in the running mean: the last twenty or so decide


class Admission:
    """Bounds the work that waits, in seconds.

    The unit is a row: an image, or a text that has to be encoded. Seconds per row are measured here, from the
    intervals at which rows leave while there is work, so that they hold for any backend, batched or remote. A
    request is refused when more than `max_queue_seconds` of rows are ahead of it; one that finds the service
    idle is never refused.
    """

    def __init__(
        self, max_queue_seconds: float, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_queue_seconds = max_queue_seconds
        self._metrics = metrics
        self._clock = clock
        self._rows = 0
        self._last_change = 0.0  # when the last rows left, or the first arrived
        self._seconds_per_row = 0.0

    @contextmanager
    def admit(self, rows: int) -> Iterator[None]:
        """Count `rows` as in flight for the duration of the block.

        Raises:
            Overloaded: too much is ahead; says after how many seconds to come back.
        """
        ahead = self._rows * self._seconds_per_row  # seconds
        if ahead > self._max_queue_seconds:
            raise Overloaded(
                f"{ahead:.1f} s of work are queued; the limit is {self._max_queue_seconds:g} s. "
                "Try again later, or add capacity.",
                retry_after=ahead - self._max_queue_seconds / 2,
            )
        if self._rows == 0:
            self._last_change = self._clock()
        self._count(rows)
        finished = False
        try:
            yield
            finished = True
        finally:
            self._count(-rows)
            if finished and rows:
                self._measure(rows)

    def _count(self, rows: int) -> None:
        self._rows += rows
        self._metrics.rows_in_flight.set(self._rows)

    def _measure(self, rows: int) -> None:
        now = self._clock()
        seconds_per_row = (now - self._last_change) / rows
        self._last_change = now
        if self._seconds_per_row == 0.0:
            self._seconds_per_row = seconds_per_row
        self._seconds_per_row += _SMOOTHING * (seconds_per_row - self._seconds_per_row)
