"""Finds out whether the GPU of this process is lost: then all calls fail, and only a new process gets it back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from clipserve.concurrency import in_own_thread
from clipserve.telemetry.log import logger

TRIAL_SECONDS = 10.0  # a GPU that has not answered a small graph by then is lost
# What CUDA, cuBLAS and onnxruntime's arena call it.
_LACKS_MEMORY = re.compile(
    r"out of memory|ALLOC_FAILED|allocate memory|smaller than requested bytes", re.IGNORECASE
)


def lacks_memory(error: str) -> bool:
    """Whether an error of onnxruntime on CUDA, in its words, is of memory: another call may have enough."""
    return _LACKS_MEMORY.search(error) is not None


class LostGpu:
    """Runs a small graph when something speaks against the GPU. `lost`: it failed too, or did not end.

    `trial`: why the small graph fails, or None; it blocks, and may hang. `on_lost` is called once.
    """

    def __init__(self, engine: str, trial: Callable[[], str | None], on_lost: Callable[[], object]) -> None:
        self._engine, self._trial, self._on_lost = engine, trial, on_lost
        self.lost = False
        self._trying: asyncio.Future[str | None] | None = None
        self._doubts: set[asyncio.Task[None]] = set()
        self._closed = False

    def doubt(self, running: Future[Any]) -> None:
        """Nobody waits for this call any more. If it does not end, the GPU may hang."""
        doubt = asyncio.create_task(self._doubt(running))
        self._doubts.add(doubt)
        doubt.add_done_callback(self._doubts.discard)

    async def look(self) -> None:
        """A call has failed: try the GPU, once for all who ask, in a thread that nobody needs if it hangs."""
        if self._closed or self.lost:
            return
        trying = self._trying = self._trying or asyncio.wrap_future(
            in_own_thread("engine_trial", self._trial)
        )
        await asyncio.wait({trying}, timeout=TRIAL_SECONDS)
        reason: str | None = f"a small graph has not ended on it within {TRIAL_SECONDS:g} s"
        if trying.done():
            self._trying, reason = None, trying.result()
        if reason and not lacks_memory(reason) and not self.lost and not self._closed:
            self.lost = True
            logger.error("engine_lost", engine=self._engine, reason=reason)
            self._on_lost()

    def close(self) -> None:
        """End all of it."""
        self._closed = True
        for doubt in self._doubts:
            doubt.cancel()

    async def _doubt(self, running: Future[Any]) -> None:
        end = asyncio.wrap_future(running)
        await asyncio.wait({end}, timeout=TRIAL_SECONDS)
        if not end.done():
            await self.look()
        elif not end.cancelled():
            end.exception()  # retrieve it: the one who waited has left
