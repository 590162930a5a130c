"""A backend whose weights leave the memory while nobody asks, and come back for the next call."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import TEXT_BUCKETS
from clipserve.concurrency import kept_running
from clipserve.engine.backend import Backend, Embeddings, Lengths, Pixels, TokenIds
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

_LEAST_COSINE = 0.999  # of vectors after a load to those of the first: the same files give the same vectors


class Unloading:
    """Closes `inner`, which can be started again, after `seconds` without a call, and starts it for the next one.

    The wait is the stage `load` of the requests that have it. A load is shared by all that wait, and goes on if
    they leave. `inputs`: for each graph, what vectors are compared on after each load: the files may have changed.
    """

    def __init__(
        self,
        inner: Backend,
        seconds: float,
        inputs: Callable[[], Mapping[str, Mapping[str, Any]]],
        metrics: Metrics,
    ) -> None:
        self._inner = inner
        self._seconds = seconds
        self._inputs = inputs
        self._metrics = metrics
        self._calls = 0  # that run or wait
        self._idle_since = 0.0  # of time.monotonic, with no call
        self._loaded = False
        self._change: asyncio.Task[None] | None = None  # loads or closes; in no request's context
        self._context = contextvars.Context()
        self._watch: asyncio.Task[None] | None = None
        self._broken = False  # the last load failed
        self._known: list[Embeddings] = []
        self.engine = ""
        self.precision: str | None = None
        self.facts: Mapping[str, Any] = {}
        self.text_buckets: Sequence[int] = TEXT_BUCKETS

    async def start(self) -> None:
        self._context = contextvars.copy_context()
        await self._load()
        inner = self._inner
        self.engine, self.precision, self.text_buckets = inner.engine, inner.precision, inner.text_buckets
        self.facts = inner.facts
        self._idle_since = time.monotonic()
        self._watch = kept_running("idle", self._close_when_idle)

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
        """Start `inner`, and compare its vectors with the first load's.

        Raises:
            BackendUnavailable, BackendFailed: it cannot be started, or its vectors are others; it is closed.
        """
        began = time.monotonic()
        self._broken = True
        try:
            await self._inner.start()
            feeds = self._inputs()
            vectors = [
                await self._inner.encode_image(**feeds[IMAGE_GRAPH]),
                await self._inner.encode_text(**feeds[TEXT_GRAPH]),
            ]
            for first, now in zip(self._known, vectors, strict=bool(self._known)):
                if not float(np.sum(first * now, axis=1).min()) > _LEAST_COSINE:
                    raise BackendUnavailable("the model's files have changed: start the service again.")
        except BaseException:
            await self._inner.aclose()
            raise
        self._known = vectors
        self._loaded, self._broken = True, False
        logger.info("encoders_loaded", engine=self._inner.engine, seconds=round(time.monotonic() - began, 2))

    async def _close_when_idle(self) -> None:
        while True:
            left = self._idle_since + self._seconds - time.monotonic()
            if self._calls or not self._loaded or left > 0:
                await asyncio.sleep(max(left, min(self._seconds, 1.0)))
                continue
            self._loaded = False
            await asyncio.shield(self._begin(self._inner.aclose()))
            logger.info("encoders_unloaded", idle_seconds=round(time.monotonic() - self._idle_since, 1))
