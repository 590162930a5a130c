"""A backend whose weights leave the memory while nobody asks, and come back for the next call."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from clipserve.clip.artifact import ArtifactError
from clipserve.clip.manifest import TEXT_BUCKETS
from clipserve.concurrency import kept_running
from clipserve.engine.backend import Backend, Embeddings, Lengths, Pixels, TokenIds
from clipserve.errors import BackendUnavailable, ClipError
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds from a failed load to the next try, which then doubles


class Unloading:
    """Closes `inner`, which can be started again, after `seconds` without a call, and starts it for the next one.

    The wait is the stage `load` of the requests that have it. A load is shared by all that wait, and goes on if
    they leave. One that fails is tried again also without a call: a load balancer sends none to what is not ready.
    `verify`: compares the model's files with their digests, in a thread, before each load but the first, which the
    service verifies itself. It raises ArtifactError.
    """

    def __init__(
        self,
        inner: Backend,
        seconds: float,
        verify: Callable[[], None],
        metrics: Metrics,
        first_pause: float = _FIRST_PAUSE,
    ) -> None:
        self._inner = inner
        self._seconds = seconds
        self._verify = verify
        self._metrics = metrics
        self._first_pause = first_pause
        self._calls = 0  # that run or wait
        self._idle_since = 0.0  # of time.monotonic, with no call
        self._loaded = False
        self._change: asyncio.Task[None] | None = None  # loads or closes; in no request's context
        self._context = contextvars.Context()
        self._watch: asyncio.Task[None] | None = None
        self._broken = False  # the last load failed
        self.engine = ""
        self.precision: str | None = None
        self.facts: Mapping[str, Any] = {}
        self.text_buckets: Sequence[int] = TEXT_BUCKETS

    async def start(self) -> None:
        inner = self._inner
        self._context = contextvars.copy_context()
        await inner.start()
        self.engine, self.precision, self.text_buckets = inner.engine, inner.precision, inner.text_buckets
        self.facts = inner.facts
        self._loaded, self._idle_since = True, time.monotonic()
        self._watch = kept_running("idle", self._follow)

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._call(partial(self._inner.encode_image, pixels))

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._call(partial(self._inner.encode_text, token_ids, lengths))

    async def ready(self) -> bool:
        """Also while it is closed, unless the last load failed."""
        return await self._inner.ready() if self._loaded else bool(self.engine) and not self._broken

    async def aclose(self) -> None:
        for task in filter(None, (self._watch, self._change)):
            task.cancel()
        self._loaded, self._broken = False, True
        await self._inner.aclose()

    async def _call(self, encode: Callable[[], Coroutine[Any, Any, Embeddings]]) -> Embeddings:
        self._calls += 1
        try:
            if not self._loaded:
                with self._metrics.stage("load"):
                    await self._until_loaded()
            return await encode()
        finally:
            self._calls -= 1
            self._idle_since = time.monotonic()

    async def _until_loaded(self) -> None:
        if self._watch is None:
            raise BackendUnavailable("the encoders are not loaded yet.")
        while not self._loaded:
            await asyncio.shield(self._change or self._begin(self._load()))

    def _begin(self, change: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._change = asyncio.create_task(change, context=self._context)
        self._change.add_done_callback(self._ended)  # before those who wait go on
        return self._change

    def _ended(self, change: asyncio.Task[None]) -> None:
        self._change = None
        if not change.cancelled():
            change.exception()  # retrieve it: those who waited may have left

    async def _load(self) -> None:
        """Verify the files, and start `inner`.

        Raises:
            BackendUnavailable, BackendFailed: the files have changed, or it cannot be started; it is closed.
        """
        began = time.monotonic()
        self._broken = True
        try:
            await asyncio.to_thread(self._verify)
            await self._inner.start()
        except BaseException as error:
            await self._inner.aclose()
            if isinstance(error, Exception):
                logger.error("encoders_not_loaded", reason=str(error))
            if isinstance(error, ArtifactError):
                raise BackendUnavailable(
                    "the model's files have changed: start the service again."
                ) from error
            raise
        self._loaded, self._broken, self._idle_since = True, False, time.monotonic()
        seconds = round(self._idle_since - began, 2)
        logger.info("encoders_loaded", engine=self._inner.engine, seconds=seconds)

    async def _follow(self) -> None:
        """Load what could not be loaded, with growing pauses; close what is idle."""
        pause = self._first_pause
        while True:
            if self._broken and not self._loaded:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                with suppress(ClipError):
                    await self._until_loaded()
                continue
            pause = self._first_pause
            left = self._idle_since + self._seconds - time.monotonic()
            if self._calls or not self._loaded or left > 0:
                await asyncio.sleep(max(left, min(self._seconds, 1.0)))
                continue
            self._loaded = False
            await asyncio.shield(self._begin(self._inner.aclose()))
            logger.info("encoders_unloaded", idle_seconds=round(time.monotonic() - self._idle_since, 1))
