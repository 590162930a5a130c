"""Finds out whether the engine of this process is lost, and looks for it then. Only a GPU's can be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, MutableMapping
from concurrent.futures import Future
from typing import Any

from clipserve.concurrency import in_own_thread, kept_running
from clipserve.telemetry.log import logger

Lost = MutableMapping[object, float]  # what is lost -> since when, in seconds of time.monotonic

TRIAL_SECONDS = 10.0  # a GPU that has not answered a small graph by then is lost


class Search:
    """Tries an engine when something speaks against it, and again and again while it is lost.

    `trial`: why all calls fail now, or None; it blocks, and may hang. `again_seconds`: between two trials. `lost`:
    has this as a key while the engine is lost.
    """

    def __init__(
        self, engine: str, trial: Callable[[], str | None], again_seconds: float, lost: Lost
    ) -> None:
        self._engine = engine
        self._trial = trial
        self._again_seconds = again_seconds
        self._lost = lost
        self._trying: asyncio.Future[str | None] | None = None
        self._doubts: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def lost(self) -> bool:
        return self._looking is not None

    def doubt(self, running: Future[Any]) -> None:
        """Nobody waits for this call any more. If it does not end, the GPU may hang, and is tried."""
        doubt = asyncio.create_task(self._doubt(running))
        self._doubts.add(doubt)
        doubt.add_done_callback(self._doubts.discard)

    async def ask(self) -> None:
        """A call has failed: try the engine, and look for it if it is lost."""
        reason = None if self._closed else await self._tried()
        if reason and not self._looking and not self._closed:
            self._looking = kept_running("engine_lost", lambda: self._look(reason))

    def close(self) -> None:
        """End all of it."""
        self._closed = True
        for task in filter(None, (self._looking, *self._doubts)):
            task.cancel()

    async def _doubt(self, running: Future[Any]) -> None:
        end = asyncio.wrap_future(running)
        await asyncio.wait({end}, timeout=TRIAL_SECONDS)
        if not end.done():
            await self.ask()
        elif not end.cancelled():
            end.exception()  # retrieve it: the one who waited has left

    async def _tried(self) -> str | None:
        """Why all calls fail now, or None. One trial at a time, in a thread that nobody needs if it hangs."""
        trying = self._trying = self._trying or asyncio.wrap_future(
            in_own_thread("engine_trial", self._trial)
        )
        await asyncio.wait({trying}, timeout=TRIAL_SECONDS)
        if not trying.done():
            return f"a small graph has not ended on it within {TRIAL_SECONDS:g} s"
        self._trying = None
        return trying.result()

    async def _look(self, reason: str | None) -> None:
        do = "start the service again, if engine_found does not follow: CUDA recovers from few errors by itself"
        logger.error("engine_lost", engine=self._engine, reason=reason, do=do)
        self._lost[self] = time.monotonic()
        try:
            while reason:
                await asyncio.sleep(self._again_seconds)
                reason = await self._tried()
        finally:
            del self._lost[self]
        self._looking = None
        logger.info("engine_found", engine=self._engine)
