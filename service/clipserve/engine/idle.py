"""A backend whose weights leave the memory while nobody asks, and come back for the next call."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from clipserve.clip.artifact import ArtifactError
from clipserve.concurrency import kept_running
from clipserve.engine.backend import Around, Backend, Embeddings, Lengths, Pixels, TokenIds
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

AGAIN_SECONDS = 10.0  # after a load that failed, until a probe begins another one


class Unloading(Around):
    """Closes `inner`, which can be started again, after `seconds` without a call, and starts it for the next one.

    The wait is the stage `load` of the requests that have it. A load is shared by all that wait, and goes on if
    they leave. If it fails they fail, and it is not ready until a load succeeds: the next call's, or a probe's.
    `verify`: compares the model's files with their digests, in a thread, before each load but the first, which the
    service verifies itself. It raises ArtifactError.
    """

    def __init__(self, inner: Backend, seconds: float, verify: Callable[[], None], metrics: Metrics) -> None:
        super().__init__(inner)
        self._seconds, self._verify, self._metrics = seconds, verify, metrics
        self._calls, self._idle_since = 0, 0.0
        self._failed_at: float | None = None  # the last load
        self._open = self._loaded = False
        self._changing = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._load: asyncio.Task[None] | None = None
        self._context = contextvars.Context()  # of no request

    async def start(self) -> None:
        self._context = contextvars.copy_context()
        await self._inner.start()
        self._open = self._loaded = True
        self._idle_since = time.monotonic()
        self._watch = kept_running("idle", self._follow)

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._call(partial(self._inner.encode_image, pixels))

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._call(partial(self._inner.encode_text, token_ids, lengths))

    async def ready(self) -> bool:
        """Also while they are not loaded, unless the last load failed: then a probe tries it again."""
        if self._loaded or self._failed_at is None:
            return await self._inner.ready() if self._loaded else self._open
        if self._open and time.monotonic() - self._failed_at > AGAIN_SECONDS:
            self._begin_load()
        return False

    async def aclose(self) -> None:
        for task in filter(None, (self._watch, self._load)):
            task.cancel()
        self._open = self._loaded = False
        await self._inner.aclose()

    async def _call(self, encode: Callable[[], Coroutine[Any, Any, Embeddings]]) -> Embeddings:
        self._calls += 1
        try:
            if self._open and not self._loaded:
                with self._metrics.stage("load"):
                    await asyncio.shield(self._begin_load())
            return await encode()
        finally:
            self._calls -= 1
            self._idle_since = time.monotonic()

    def _begin_load(self) -> asyncio.Task[None]:
        if self._load is None or self._load.done():
            self._load = asyncio.create_task(self._start_again(), context=self._context)
            self._load.add_done_callback(
                lambda load: load.cancelled() or load.exception()
            )  # all may have left
        return self._load

    async def _start_again(self) -> None:
        """Verify the files, and start `inner`.

        Raises:
            BackendUnavailable, BackendFailed: the files have changed, or it cannot be started; it is closed.
        """
        async with self._changing:
            began = time.monotonic()
            try:
                await asyncio.to_thread(self._verify)
                await self._inner.start()
            except Exception as error:  # whatever it is, what has started must be closed
                await self._inner.aclose()
                self._failed_at = time.monotonic()
                logger.error("encoders_not_loaded", reason=str(error))
                if isinstance(error, ArtifactError):
                    what = "the model's files have changed: start the service again."
                    raise BackendUnavailable(what) from error
                raise
            self._loaded, self._failed_at, self._idle_since = True, None, time.monotonic()
            logger.info("encoders_loaded", engine=self.engine, seconds=round(time.monotonic() - began, 2))

    async def _follow(self) -> None:
        """Close what is idle."""
        while True:
            idle = time.monotonic() - self._idle_since
            if self._calls or not self._loaded or idle < self._seconds:
                await asyncio.sleep(max(self._seconds - idle, min(self._seconds, 1.0)))
                continue
            self._loaded = False
            async with self._changing:
                await self._inner.aclose()
            logger.info("encoders_unloaded", idle_seconds=round(idle, 1))
