"""Vectors of images seen before, by their bytes."""

from __future__ import annotations

import asyncio
import functools
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor

from clipserve.application.cache import BoundedCache
from clipserve.application.encoder import ImageEncoder, ImageInput
from clipserve.clip.images import ImageHeader
from clipserve.engine.backend import Vector
from clipserve.errors import ClipError
from clipserve.telemetry.metrics import Metrics


class CachedImageEncoder:
    """An `ImageEncoder` around an `ImageEncoder`.

    The same image in several requests, or twice in one, is encoded once, also while the first is still on its way.
    There is one for each model, so that model, precision and preprocessing need not be in the key.
    """

    def __init__(self, inner: ImageEncoder, max_bytes: int, executor: Executor, metrics: Metrics) -> None:
        """`max_bytes` bounds what is kept. `executor`: threads that compute the keys."""
        self._inner = inner
        self._executor = executor
        self._vectors = BoundedCache[bytes, Vector]("image", max_bytes, _size_of, metrics)

    async def read_headers(self, images: Sequence[ImageInput]) -> list[ImageHeader | ClipError]:
        return await self._inner.read_headers(images)

    async def check(self, image: bytes, header: ImageHeader) -> None:
        await self._inner.check(image, header)

    async def encode(self, image: bytes, header: ImageHeader) -> Vector:
        key = await asyncio.get_running_loop().run_in_executor(self._executor, _digest, image)
        return await self._vectors.get_or_build(key, functools.partial(self._inner.encode, image, header))


def _digest(image: bytes) -> bytes:
    """SHA-256: nobody can make two images that share a vector."""
    return hashlib.sha256(image).digest()


def _size_of(key: bytes, vector: Vector) -> int:
    return len(key) + int(vector.nbytes)
