"""A fake encoder, for the contract suite and for measuring the gateway alone."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clipserve.clip.manifest import TEXT_BUCKETS
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.errors import BackendUnavailable


class FakeBackend:
    """Returns vectors that depend on every byte of their row and on nothing else.

    `delay`: seconds that each call takes, however many rows it has.
    """

    engine = "fake"
    precision: str | None = None
    text_buckets: Sequence[int] = TEXT_BUCKETS

    def __init__(self, embed_dim: int, delay: float = 0.0) -> None:
        self._embed_dim = embed_dim
        self._delay = delay
        self._started = False

    async def start(self) -> None:
        self._started = True

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        await self._work()
        return self.vectors(pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        await self._work()
        return self.vectors(token_ids, lengths)

    async def ready(self) -> bool:
        return self._started

    async def aclose(self) -> None:
        self._started = False

    async def _work(self) -> None:
        if not self._started:
            raise BackendUnavailable("the fake backend is not started.")
        if self._delay:
            await asyncio.sleep(self._delay)

    def vectors(self, rows: Pixels | TokenIds, lengths: Lengths | None = None) -> Embeddings:
        """float32 [N, D] of pixels, or of token ids with their lengths."""
        used = rows if lengths is None else (ids[:n] for ids, n in zip(rows, lengths, strict=True))
        vectors = np.stack([self._vector(row.tobytes()) for row in used])
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    def _vector(self, row: bytes) -> npt.NDArray[np.float32]:
        return np.random.default_rng(zlib.crc32(row)).standard_normal(self._embed_dim, np.float32)
