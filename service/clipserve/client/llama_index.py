"""CLIP as `MultiModalEmbedding` of LlamaIndex."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

from clipserve.client.blocking import Blocking
from clipserve.client.stores import rows

try:
    from llama_index.core.embeddings import MultiModalEmbedding
except ImportError:
    raise ImportError("LlamaIndex is not installed: pip install llama-index-core") from None


class ClipserveEmbedding(MultiModalEmbedding):
    """Texts and images in one space. Methods raise ItemFailed for the first item that has no vector."""

    embed_batch_size: int = 64  # of which the client has `in_flight` requests at a time
    _clip: Blocking

    def __init__(self, clip: Blocking, **fields: Any) -> None:
        """`clip`: it has opened the store (`clipserve.client.stores`). `fields`: LlamaIndex's own."""
        super().__init__(**{"model_name": clip.pin().fingerprint, **fields})
        self._clip = clip

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return rows(self._clip.embed_texts(texts))

    def _get_image_embeddings(self, images: list[str | BytesIO]) -> list[list[float]]:
        files = [image.getvalue() if isinstance(image, BytesIO) else image for image in images]
        return rows(self._clip.embed_images(files))

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_image_embedding(self, image: str | BytesIO) -> list[float]:
        return self._get_image_embeddings([image])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_image_embedding(self, image: str | BytesIO) -> list[float]:
        return await asyncio.to_thread(self._get_image_embedding, image)

    _get_query_embedding = _get_text_embedding
    _aget_query_embedding = _aget_text_embedding
