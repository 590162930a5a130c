"""Images or texts -> embeddings: preprocessing in front of a backend."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from clipserve.api.fields import ImageInput
from clipserve.application.cache import BoundedCache
from clipserve.application.decoding import Decoders
from clipserve.clip.announced import announced
from clipserve.clip.images import ImageHeader, ImageLimits
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.tokenizer import TokenizedText, Tokenizer
from clipserve.concurrency import beside_loop, together
from clipserve.engine.backend import Backend, Embeddings, Vector
from clipserve.errors import BackendFailed, ClipError
from clipserve.telemetry.metrics import Metrics

VectorOrError = Vector | ClipError
Encode = Callable[[bytes, ImageHeader], Awaitable[Vector]]

# What texts count as for `beside_loop`: tokenizing takes longer than parsing.
_TEXT_BYTES, _CHAR_BYTES = 128, 2
_ODD = 8  # a character of a text that is not ASCII counts as so many, because its cleaning is slow
# The texts of one call: a few milliseconds, after which others have their turn, and a cancelled request ends.
# Encodings take a hundred bytes a token, the ids that are kept a few.
_CALL_TEXTS = 64
_CALL_CHARS = 8_192


async def encode_images(
    encode: Encode, images: Sequence[ImageInput], headers: Sequence[ImageHeader | ClipError]
) -> list[VectorOrError]:
    """The vector of each image, in order, or its error. `headers`: from `read_headers`."""

    async def encoded(index: int, image: ImageInput, header: ImageHeader | ClipError) -> VectorOrError:
        if isinstance(image, ClipError):
            return image
        if isinstance(header, ClipError):
            return header
        try:
            return await encode(image, header)
        except ClipError as error:
            return error.at(index)

    if len(images) == 1:
        return [await encoded(0, images[0], headers[0])]
    return await together(map(encoded, range(len(images)), images, headers)) if images else []


class ImageEncoder:
    """Decodes and encodes image files, with an optional cache.

    With a cache the same image in several requests, or twice in one, is encoded once, also by concurrent requests.
    Each model has its own encoder, so the key needs no model, precision or preprocessing.
    """

    def __init__(
        self,
        manifest: ModelManifest,
        backend: Backend,
        executor: Executor,
        decoders: Decoders,
        limits: ImageLimits,
        metrics: Metrics,
        cache_bytes: int = 0,
    ) -> None:
        """`executor`: threads that compute keys of the cache. `cache_bytes`: its size; 0: no cache."""
        self._spec, self._embed_dim = manifest.image, manifest.embed_dim
        self._backend = backend
        self._executor = executor
        self._decoders = decoders
        self._limits = limits
        self._metrics = metrics
        cache = BoundedCache[bytes, Vector]("image", cache_bytes, _size_of, metrics)
        self._cache = cache if cache_bytes else None

    async def read_headers(self, images: Sequence[ImageInput]) -> list[ImageHeader | ClipError]:
        """The header of each image, in order, or its error.

        It is what the image announces. A decoder reads the header of one that announces nothing, or more than is
        allowed, because an announcement may be too high, and the file broken.
        """
        headers: list[ImageHeader | ClipError | None] = []
        for index, image in enumerate(images):
            try:
                header = image if isinstance(image, ClipError) else announced(image, self._spec, self._limits)
            except ClipError as error:
                header = error.at(index)
            too_much = isinstance(header, ImageHeader) and header.decode_bytes > self._decoders.memory_bytes
            headers.append(None if too_much else header)
        if None in headers:
            headers = await together(map(self._read, images, headers, range(len(images))))
        return [header for header in headers if header]

    async def _read(
        self, image: ImageInput, header: ImageHeader | ClipError | None, index: int
    ) -> ImageHeader | ClipError | None:
        if header is not None or isinstance(image, ClipError):
            return header
        try:
            return await self._decoders.read_header(image, self._spec, self._limits)
        except ClipError as error:
            return error.at(index)

    async def check(self, image: bytes, header: ImageHeader) -> None:
        """Decode an image without encoding it. Raises the errors of `Decoders.decode`."""
        await self._decoders.decode(image, header, self._spec, self._limits)

    def encode(self, image: bytes, header: ImageHeader) -> Coroutine[Any, Any, Vector]:
        """The image's vector, float32 [D]. Raises the errors of `Decoders.decode` and of `Backend`."""
        return (
            self._encoded(image, header) if self._cache is None else self._cached(self._cache, image, header)
        )

    async def _cached(self, cache: BoundedCache[bytes, Vector], image: bytes, header: ImageHeader) -> Vector:
        key = await asyncio.get_running_loop().run_in_executor(self._executor, _digest, image)
        return await cache.get_or_build(key, partial(self._encoded, image, header))

    async def _encoded(self, image: bytes, header: ImageHeader) -> Vector:
        pixels = await self._decoders.decode(image, header, self._spec, self._limits)  # [S, S, 3]
        with self._metrics.stage("encode_image"):
            embeddings = await self._backend.encode_image(pixels[np.newaxis])  # [1, D]
        check_embeddings(embeddings, 1, self._embed_dim)
        return np.asarray(embeddings[0])


def _digest(image: bytes) -> bytes:
    """SHA-256: nobody can make two images that share a vector."""
    return hashlib.sha256(image).digest()


def _size_of(key: bytes, vector: Vector) -> int:
    return len(key) + int(vector.nbytes)


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
