"""How slow the client of one bulk request may be. Only time counts in which the server waits for the client.

The client may pause for as long as a body may take. Over minutes it must send at a minimum rate, and take its
answers at the same rate, or it could hold its place for ever: each byte extends the deadline, up to a maximum. The
clock stops while the server works on items, or makes them wait for the rate of the key or for memory: the client
may itself wait for their answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from clipserve.concurrency import clears_frame
from clipserve.errors import BodyTooSlow

T = TypeVar("T")

_PART = 512  # of the rate of a body: 128 bytes a second

# Half a megabit a second: the minimum rate of a body, and of reading an answer.
MIN_BODY_BYTES_PER_SECOND = 65_536


@dataclass(frozen=True)
class PaceLimits:
    """The limits of one body. The minimum rate of a bulk request is a fraction of the body's.

    Attributes:
        most_pauses: times `body_timeout_seconds` that a bulk client has at most: two minutes by default.
    """

    body_timeout_seconds: float
    min_body_bytes_per_second: int = MIN_BODY_BYTES_PER_SECOND
    most_pauses: float = 8


class StreamPace:
    """The pace of one request. Calls of `receive` must not overlap."""

    def __init__(self, limits: PaceLimits) -> None:
        self._now = asyncio.get_running_loop().time
        self._silence = limits.body_timeout_seconds
        self._most = limits.most_pauses * self._silence
        self._rate = limits.min_body_bytes_per_second / _PART
        self._to_send = self._to_take = self._most  # seconds that are left for each
        self._at_work = 0
        self._timer: asyncio.Timeout | None = None  # of `receive`
        self._since: float | None = None  # when time began to pass
        self._behind = False  # the rate allows less time than the timeout of a pause

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Stop the clock in this block: the server does not wait for the client."""
        self._stop()
        if self._timer and not self._timer.expired():
            self._timer.reschedule(None)
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self._go_on()

    @clears_frame  # the timer holds its task
    async def receive(self, receive: Callable[[], Awaitable[T]]) -> T:
        """Await `receive` and return its result.

        Raises:
            BodyTooSlow: the client paused too long, or was too slow over all.
        """
        timer = asyncio.timeout(None)
        try:
            async with timer:
                self._timer = timer
                self._go_on()
                return await receive()
        except TimeoutError as error:
            raise self._too_slow() if timer.expired() else error from None
        finally:
            self._stop()
            self._timer = None

    def received(self, size: int) -> None:
        """`size` bytes were received."""
        self._to_send = self._bought(self._to_send, size)

    @contextmanager
    def giving(self, size: int) -> Iterator[float]:
        """Send an answer of `size` bytes in this block. Yields the seconds in which the client must take it."""
        began = self._now()
        with self.at_work():
            yield max(0.0, self._to_take)
        self._to_take = self._bought(self._to_take - (self._now() - began), size)

    def _bought(self, left: float, size: int) -> float:
        return min(self._most, left + size / self._rate)

    def _go_on(self) -> None:
        if self._timer and not self._timer.expired() and not self._at_work:
            self._since = self._now()
            self._behind = self._to_send < self._silence
            seconds = max(0.0, self._to_send) if self._behind else self._silence
            self._timer.reschedule(self._since + seconds)

    def _stop(self) -> None:
        if self._since is not None:
            self._to_send -= self._now() - self._since
            self._since = None

    def _too_slow(self) -> BodyTooSlow:
        if not self._behind:
            return BodyTooSlow(f"nothing arrived within {self._silence:g} s.", limit=self._silence)
        return BodyTooSlow(
            f"the request is {self._most:g} s behind the minimum rate, {self._rate:,g} bytes a second, which holds "
            "while the service waits for it. Send faster, or end it and begin another when there is more.",
            limit=self._rate,
        )
