"""A backend around a backend: a batcher for each of its encoders."""

from __future__ import annotations

from clipserve.engine.backend import Around, Backend, Embeddings, Lengths, Pixels, TokenIds
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batching import DynamicBatcher
from clipserve.telemetry.metrics import Metrics


class Batched(Around):
    """A backend that gathers rows of several requests into batches, and calls another backend with them."""

    def __init__(self, inner: Backend, image: BatchPolicy, text: BatchPolicy, metrics: Metrics) -> None:
        super().__init__(inner)
        self._image = DynamicBatcher("image", inner.encode_image, image, metrics)
        self._text = DynamicBatcher("text", inner.encode_text, text, metrics)

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
