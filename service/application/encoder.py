"""Images or texts -> embeddings: preprocessing in front of a backend."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from service.application.image_cache import VectorCache
from service.clip.images import ImageLimits, decode_pixels
from service.clip.manifest import ModelManifest
from service.clip.reference import REFERENCE_TEXTS, check, reference_pixels
from service.clip.tokenizer import TokenizedText, Tokenizer
from service.concurrency import together
from service.engine.backend import Backend, Embeddings, Vector
from service.errors import BackendFailed, BackendUnavailable, ClipError, DeadlineExceeded, Overloaded
from service.telemetry.log import logger
from service.telemetry.metrics import Metrics

Image = bytes | ClipError  # a file's bytes, or why the front could not read them

# Few texts are tokenized faster than a thread is woken; many would hold up every other request.
_TEXTS_ON_LOOP = 32
_SELF_TEST_AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class EncodedText:
    """One text's vector; `tokens` counts what it had before truncation."""

    vector: Vector
    tokens: int
    truncated: bool


class DualEncoder:
    """One model: its preprocessing, its tokenizer and the backend that holds its two towers."""

    def __init__(
        self,
        manifest: ModelManifest,
        tokenizer: Tokenizer,
        backend: Backend,
        preprocessing: Executor,
        limits: ImageLimits,
        metrics: Metrics,
        cache: VectorCache,
    ) -> None:
        self.manifest = manifest
        self._tokenizer = tokenizer
        self._backend = backend
        self._preprocessing = preprocessing
        self._limits = limits
        self._metrics = metrics
        self._cache = cache
        self.fingerprint = manifest.fingerprint(*limits.choices)

    async def start(self) -> float:
        """Load the backend, warm it up and hold it against the manifest's reference vectors.

        Returns:
            the lowest cosine to them.

        Raises:
            ArtifactError: the engine computes something else.
            BackendUnavailable: it can never be loaded.
            BackendFailed: it fails on the reference inputs.
        """
        await self._backend.start()
        narrower = self._backend.precision
        if narrower:  # it makes other vectors; an index must not mix them
            self.fingerprint = self.manifest.fingerprint(*self._limits.choices, precision=narrower)
        images, texts = await self._reference_embeddings()
        return check(self.manifest, images, texts, narrower)

    async def _reference_embeddings(self) -> tuple[Embeddings, Embeddings]:
        """Of the reference images and texts. A backend that goes away, or is full, says nothing about itself."""
        while True:
            try:
                images = await self._backend.encode_image(reference_pixels(self.manifest.image.size))
                texts = await self.encode_texts(REFERENCE_TEXTS, truncate=True)
            except (BackendUnavailable, DeadlineExceeded, Overloaded) as error:
                logger.warning("self_test_postponed", model=self.manifest.name, reason=error.detail)
                await asyncio.sleep(_SELF_TEST_AGAIN_SECONDS)
            else:
                return images, np.stack([text.vector for text in texts])

    async def ready(self) -> bool:
        return await self._backend.ready()

    async def aclose(self) -> None:
        await self._backend.aclose()

    async def encode_images(self, images: Sequence[Image]) -> list[Vector | ClipError]:
        """Each image's vector, or the error that concerns it alone."""
        return list(await asyncio.gather(*map(self._vector_or_error, range(len(images)), images)))

    async def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> list[EncodedText]:
        """Each text's vector, in order.

        Raises:
            TextTooLong: see `Tokenizer.encode`.
        """
        if not texts:
            return []
        with self._metrics.stage("tokenize"):
            rows = await self._tokenize(texts, truncate)
        buckets: dict[int, list[int]] = defaultdict(list)  # length -> positions of its texts
        for position, row in enumerate(rows):
            buckets[self.manifest.text.padded_length(len(row.ids))].append(position)
        encoded = await together(
            self._encode_rows([rows[p] for p in positions], length) for length, positions in buckets.items()
        )
        vectors: dict[int, Vector] = {}
        for positions, embeddings in zip(buckets.values(), encoded, strict=True):
            vectors.update(zip(positions, embeddings, strict=True))
        return [EncodedText(vectors[p], row.tokens, row.truncated) for p, row in enumerate(rows)]

    async def _tokenize(self, texts: Sequence[str], truncate: bool) -> list[TokenizedText]:
        if len(texts) <= _TEXTS_ON_LOOP:
            return self._tokenizer.encode(texts, truncate=truncate)
        return await asyncio.get_running_loop().run_in_executor(
            self._preprocessing, functools.partial(self._tokenizer.encode, texts, truncate=truncate)
        )

    async def _vector_or_error(self, index: int, image: Image) -> Vector | ClipError:
        if isinstance(image, ClipError):
            return image
        try:
            return await self._cache.get(image, self._encode_image)
        except ClipError as error:
            return error.at(index)

    async def _encode_image(self, image: bytes) -> Vector:
        with self._metrics.stage("decode"):
            pixels = await asyncio.get_running_loop().run_in_executor(
                self._preprocessing, decode_pixels, image, self.manifest.image, self._limits
            )  # [S, S, 3]
        with self._metrics.stage("encode_image"):
            embeddings = await self._backend.encode_image(pixels[np.newaxis])
        self._check(embeddings, 1)
        return np.asarray(embeddings[0])

    async def _encode_rows(self, rows: list[TokenizedText], length: int) -> Embeddings:
        token_ids, lengths = self._tokenizer.pad(rows, length)  # [N, L], [N]
        with self._metrics.stage("encode_text"):
            embeddings = await self._backend.encode_text(token_ids, lengths)
        self._check(embeddings, len(rows))
        return embeddings

    def _check(self, embeddings: Embeddings, rows: int) -> None:
        """An impossible vector is worse than none: it would be stored in somebody's index."""
        expected = (rows, self.manifest.embed_dim)
        if embeddings.shape != expected:
            raise BackendFailed(f"the encoder gave an array of {embeddings.shape}, not {expected}.")
        if not np.isfinite(embeddings).all():
            raise BackendFailed("the encoder gave a vector with values that are not finite.")
