"""Vectors of images seen before, by their bytes. Off unless it is given room."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

from cachetools import LRUCache

from service.concurrency import SharedBuilds
from service.engine.backend import Vector
from service.telemetry.deadline import forget_deadline
from service.telemetry.metrics import Metrics

_ENTRY_OVERHEAD = 256  # bytes of Python objects around a cached vector, roughly


class VectorCache:
    """One per encoder, so that model, precision and preprocessing need not be in the key.

    The same image in several requests, or twice in one, is encoded once also while the first is still on its way.
    `cache_bytes` bounds what is kept; errors are not kept.
    """

    def __init__(self, cache_bytes: int, executor: Executor, metrics: Metrics) -> None:
        self._vectors: LRUCache[bytes, Vector] = LRUCache(
            cache_bytes, lambda vector: int(vector.nbytes) + _ENTRY_OVERHEAD
        )
        self._executor = executor
        self._metrics = metrics
        self._builds = SharedBuilds[Vector]()

    async def get(self, image: bytes, encode: Callable[[bytes], Awaitable[Vector]]) -> Vector:
        """The vector of `image`, from `encode` where it is not known; its errors go to all who wait for it."""
        if not self._vectors.maxsize:
            return await encode(image)
        key = await asyncio.get_running_loop().run_in_executor(self._executor, _digest, image)
        known = self._vectors.get(key)
        self._metrics.cache("image", hit=known is not None)
        if known is not None:
            return known

        async def build() -> Vector:
            forget_deadline()  # other requests may wait for it, and longer than the first
            vector = await encode(image)
            if self._vectors.getsizeof(vector) <= self._vectors.maxsize:
                self._vectors[key] = vector
            return vector

        return await self._builds.get(key, build)


def _digest(image: bytes) -> bytes:
    """SHA-256: a caller may not be able to make two images that share a vector."""
    return hashlib.sha256(image).digest()
