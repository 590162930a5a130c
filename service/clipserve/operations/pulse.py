"""Whether an event loop lives, as a second loop in a thread beside it sees.

That one answers when the first cannot. Both share Python's lock (the GIL): C code that holds it for long holds up
both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

MAX_BLOCKED_SECONDS = 10.0  # without a beat for so long, the service is not alive
_BEAT_SECONDS = 0.25
_READY_SECONDS = 2.0  # without a beat for so long, the service is not ready


class Pulse:
    """The first loop beats, and the other counts the time since it did.

    The other counts only time in which it ran itself. A process that was stopped as a whole, or held up by Python's
    lock, is not taken for blocked when it goes on.

    Attributes:
        blocked_seconds: how long the first loop has given no sign.
    """

    def __init__(self) -> None:
        self.blocked_seconds = 0.0
        self._beats = 0
        self._ready = False

    @property
    def ready(self) -> bool:
        """What the first loop last said, if that was not long ago."""
        return self._ready and self.blocked_seconds < _READY_SECONDS

    async def beat(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """On the first event loop, until cancelled."""
        while True:
            self._ready = await ready()
            self._beats += 1
            await asyncio.sleep(_BEAT_SECONDS)

    async def watch(self) -> None:
        """On the other, until cancelled."""
        while True:
            seen = self._beats
            await asyncio.sleep(_BEAT_SECONDS)
            self.blocked_seconds = 0.0 if self._beats != seen else self.blocked_seconds + _BEAT_SECONDS
