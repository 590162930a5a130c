"""Whether an event loop lives, as a second loop in a thread beside it sees.

That one answers when the first cannot. Both share Python's lock (the GIL): C code that holds it for long holds up
both.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from clipserve.concurrency import kept_running

BEAT_SECONDS = 0.25
READY_SECONDS = 2.0  # without a beat for so long, the service is not ready

Beside = Callable[[asyncio.Event], Coroutine[Any, Any, None]]  # ends when the event is set


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
        return self._ready and self.blocked_seconds < READY_SECONDS

    async def beat(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """On the first event loop, until cancelled."""
        while True:
            self._ready = await ready()
            self._beats += 1
            await asyncio.sleep(BEAT_SECONDS)

    async def watch(self) -> None:
        """On the other, until cancelled."""
        while True:
            seen = self._beats
            await asyncio.sleep(BEAT_SECONDS)
            self.blocked_seconds = 0.0 if self._beats != seen else self.blocked_seconds + BEAT_SECONDS


@asynccontextmanager
async def beside(pulse: Pulse, ready: Callable[[], Awaitable[bool]], serve: Beside) -> AsyncIterator[None]:
    """Run `serve` on a loop in a thread of its own, and `pulse` on both, as long as the block lasts.

    `ready` is asked on this loop, and must answer at once.
    """
    beating = kept_running("pulse", partial(pulse.beat, ready))
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        watching = asyncio.create_task(pulse.watch())
        await serve(stop)
        watching.cancel()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="operations", daemon=True)
    thread.start()
    try:
        yield
    finally:
        beating.cancel()
        loop.call_soon_threadsafe(stop.set)
        thread.join(1.0)
