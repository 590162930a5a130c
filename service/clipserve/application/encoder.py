"""Images or texts -> embeddings: preprocessing in front of a backend."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Coroutine, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from clipserve.api.fields import ImageInput
from clipserve.api.limits import at_most
from clipserve.application.cache import BoundedCache
from clipserve.application.decoding.decoders import Decoders
from clipserve.clip.images import ImageLimits
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.tokenizer import TokenizedText, Tokenizer
from clipserve.concurrency import beside_loop, together
from clipserve.engine.backend import Backend, Embeddings, Vector
from clipserve.errors import BackendFailed, ClipError
from clipserve.telemetry.metrics import Metrics

VectorOrError = Vector | ClipError

# What texts count as for `beside_loop`: tokenizing takes longer than parsing.
_TEXT_BYTES, _CHAR_BYTES = 128, 2
_ODD = 8  # a character of a text that is not ASCII counts as so many, because its cleaning is slow
# The texts of one call: a few milliseconds, after which others have their turn, and a cancelled request ends.
# Encodings take a hundred bytes a token, the ids that are kept a few.
_CALL_TEXTS = 64
_CALL_CHARS = 8_192


class EncodedImage(NamedTuple):
    """The vector of an image. `pixels`: of its file."""

    vector: Vector
    pixels: int


class PixelSum:
    """The pixels of the images of a request, as decoders report them. A single image has its own limit."""

    def __init__(self, images: int, limit: int) -> None:
        self._images = images
        self._limit = limit
        self._pixels = 0

    def add(self, pixels: int) -> None:
        """Count an image.

        Raises:
            TooMany: the images have too many pixels together.
        """
        self._pixels += pixels
        if self._images > 1:
            at_most(f"pixels in its {self._images} images", self._pixels, self._limit)


class ImageEncoder:
    """Decodes and encodes image files, with an optional cache.

    With a cache the same image in several requests, or twice in one, is encoded once, also by concurrent requests.
    Each model has its own encoder, so the key needs no model, precision or preprocessing.
    """

    def __init__(
        self,
        manifest: ModelManifest,
        backend: Backend,
        decoders: Decoders,
        limits: ImageLimits,
        metrics: Metrics,
        cache_bytes: int = 0,
    ) -> None:
        """`cache_bytes`: the size of the cache; 0: none."""
        self._spec, self._embed_dim = manifest.image, manifest.embed_dim
        self._backend = backend
        self._decoders = decoders
        self._limits = limits
        self._metrics = metrics
        cache = BoundedCache[bytes, EncodedImage]("image", cache_bytes, _size_of, metrics)
        self._cache = cache if cache_bytes else None

    async def check(self, image: bytes) -> None:
        """Decode an image without encoding it. Raises the errors of `Decoders.decode`."""
        await self._decoders.decode(image, self._spec, self._limits)

    async def encode_all(self, images: Sequence[ImageInput], pixels: PixelSum) -> list[VectorOrError]:
        """The vector of each image, in order, or its error. Raises TooMany: see `PixelSum.add`."""
        if len(images) == 1:  # a task for it is expensive
            return [await self._vector(0, images[0], pixels)]
        return await together(self._vector(index, image, pixels) for index, image in enumerate(images))

    async def _vector(self, index: int, image: ImageInput, pixels: PixelSum) -> VectorOrError:
        if isinstance(image, ClipError):
            return image
        try:
            result = await self.encode(image)
        except ClipError as error:
            return error.with_traceback(None).at(index)  # its frames hold who waited for it: a cycle
        pixels.add(result.pixels)
        return result.vector

    def encode(self, image: bytes) -> Coroutine[Any, Any, EncodedImage]:
        """The image's vector, float32 [D]. Raises the errors of `Decoders.decode` and of `Backend`."""
        return self._encoded(image) if self._cache is None else self._cached(self._cache, image)

    async def _cached(self, cache: BoundedCache[bytes, EncodedImage], image: bytes) -> EncodedImage:
        key = await beside_loop(partial(_digest, image), len(image))
        return await cache.get_or_build(key, partial(self._encoded, image))

    async def _encoded(self, image: bytes) -> EncodedImage:
        pixels, of_file = await self._decoders.decode(image, self._spec, self._limits)  # [S, S, 3]
        with self._metrics.stage("encode_image"):
            embeddings = await self._backend.encode_image(pixels[np.newaxis])  # [1, D]
        check_embeddings(embeddings, 1, self._embed_dim)
        return EncodedImage(np.asarray(embeddings[0]), of_file)


def _digest(image: bytes) -> bytes:
    """SHA-256: nobody can make two images that share a vector."""
    return hashlib.sha256(image).digest()


def _size_of(key: bytes, encoded: EncodedImage) -> int:
    return len(key) + int(encoded.vector.nbytes)


class EncodedText(NamedTuple):
    """The vector of a text. `tokens`: their number before the text was truncated."""

    vector: Vector
    tokens: int
    truncated: bool


class TextEncoder:
    """Tokenizes texts, groups them by padded length, and calls the backend once for each group."""

    def __init__(
        self,
        manifest: ModelManifest,
        tokenizer: Tokenizer,
        backend: Backend,
        metrics: Metrics,
    ) -> None:
        self._manifest = manifest
        self.tokenizer = tokenizer
        self._backend = backend
        self._metrics = metrics

    async def encode(self, texts: Sequence[str], *, truncate: bool = False) -> list[EncodedText]:
        """Each text's vector, in order.

        Raises:
            TextTooLong, InvalidInput: see `Tokenizer.encode`.
            BackendUnavailable, BackendFailed: see `Backend`.
        """
        if not texts:
            return []
        rows = await self.tokenize(texts, truncate=truncate)
        by_length: dict[int, list[int]] = defaultdict(list)  # padded length -> positions of its texts
        buckets = self._backend.text_buckets
        for position, row in enumerate(rows):
            by_length[self._manifest.text.padded_length(len(row.ids), buckets)].append(position)
        encoded = await together(
            self._encode_rows([rows[p] for p in positions], length) for length, positions in by_length.items()
        )
        vectors: dict[int, Vector] = {}
        for positions, embeddings in zip(by_length.values(), encoded, strict=True):
            vectors.update(zip(positions, embeddings, strict=True))
        return [EncodedText(vectors[p], row.tokens, row.truncated) for p, row in enumerate(rows)]

    async def tokenize(self, texts: Sequence[str], *, truncate: bool = False) -> list[TokenizedText]:
        """Each text's tokens, in order. Raises TextTooLong, InvalidInput: see `Tokenizer.encode`."""
        size = max(_TEXT_BYTES * len(texts), _CHAR_BYTES * sum(map(_plain_chars, texts)))
        rows: list[TokenizedText] = []
        with self._metrics.stage("tokenize"):
            for part in _parts(texts):
                rows += await beside_loop(partial(self.tokenizer.encode, part, truncate, len(rows)), size)
        return rows

    async def _encode_rows(self, rows: list[TokenizedText], length: int) -> Embeddings:
        token_ids, lengths = self.tokenizer.pad(rows, length)  # [N, L], [N]
        with self._metrics.stage("encode_text"):
            embeddings = await self._backend.encode_text(token_ids, lengths)  # [N, D]
        check_embeddings(embeddings, len(rows), self._manifest.embed_dim)
        return embeddings


def _plain_chars(text: str) -> int:
    return len(text) * (1 if text.isascii() and "&" not in text else _ODD)


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """So many texts and characters at a time, and at least one text."""
    start = chars = 0
    for index, text in enumerate(texts):
        if index > start and (index - start == _CALL_TEXTS or chars + len(text) > _CALL_CHARS):
            yield texts[start:index]
            start, chars = index, 0
        chars += len(text)
    yield texts[start:]


def check_embeddings(embeddings: Embeddings, rows: int, embed_dim: int) -> None:
    """Reject invalid vectors: one in a user's index is worse than an error.

    Raises:
        BackendFailed: the shape is not [rows, embed_dim], or a value is not finite.
    """
    expected = (rows, embed_dim)
    if embeddings.shape != expected:
        raise BackendFailed(f"the encoder gave an array of {embeddings.shape}, not {expected}.")
    if not np.isfinite(embeddings).all():
        raise BackendFailed("the encoder gave a vector with values that are not finite.")
