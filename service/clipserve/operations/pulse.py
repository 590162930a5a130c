"""Detects whether an event loop is blocked, from a second loop in another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

MAX_BLOCKED_SECONDS = 10.0  # without a beat for so long, the service is not alive
_BEAT_SECONDS = 0.25
_READY_SECONDS = 2.0  # without a beat for so long, the service is not ready


class Pulse:
    """The first loop beats, and the second counts the time since the last beat.

    The second counts only time in which it ran itself. So a process that was stopped as a whole, or that waited for
    Python's lock, does not count as blocked when it continues.
    """

    def __init__(self) -> None:
        self.blocked_seconds = 0.0
        self._beats = 0
        self._ready = False

    @property
    def ready(self) -> bool:
        """Whether the first loop was ready at its last beat, and that was recent."""
        return self._ready and self.blocked_seconds < _READY_SECONDS

    async def beat(self, ready: Callable[[], Awaitable[bool]]) -> None:
        while True:  # on the first loop
            self._ready = await ready()
            self._beats += 1
            await asyncio.sleep(_BEAT_SECONDS)

    async def watch(self) -> None:
        while True:  # on the second loop
            seen = self._beats
            await asyncio.sleep(_BEAT_SECONDS)
            self.blocked_seconds = 0.0 if self._beats != seen else self.blocked_seconds + _BEAT_SECONDS
