"""A backend around a backend: a batcher for each of its encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clipserve.engine.backend import Backend, Embeddings, Lengths, Pixels, TokenIds
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batching import DynamicBatcher
from clipserve.telemetry.metrics import Metrics


class Batched:
    """A backend that gathers rows of several requests into batches, and calls another backend with them."""

    def __init__(self, inner: Backend, image: BatchPolicy, text: BatchPolicy, metrics: Metrics) -> None:
        self._inner = inner
        self._image = DynamicBatcher("image", inner.encode_image, image, metrics)
        self._text = DynamicBatcher("text", inner.encode_text, text, metrics)

    @property
    def engine(self) -> str:
        return self._inner.engine

    @property
    def precision(self) -> str | None:
        return self._inner.precision

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._inner.facts

    @property
    def text_buckets(self) -> Sequence[int]:
        return self._inner.text_buckets

    async def start(self) -> None:
        await self._inner.start()
        self._image.start()
        self._text.start()

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._image.submit(pixels)

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._text.submit(token_ids, lengths)

    async def ready(self) -> bool:
        return await self._inner.ready()

    async def aclose(self) -> None:
        await self._image.aclose()
        await self._text.aclose()
        await self._inner.aclose()
