"""An image seen before is not encoded again, if asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from clipserve.application.encoder import ImageInput
from clipserve.application.image_cache import CachedImageEncoder
from clipserve.clip.images import ImageHeader
from clipserve.engine.backend import Embeddings, Pixels, Vector
from clipserve.errors import ClipError, UndecodableImage
from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.support import DIM, Running, png, serving, write_toy_artifact

HEADER = ImageHeader(pixels=100, decode_bytes=1_000)


class Counting:
    """Encodes bytes to their number, slowly; `b"bad"` fails."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def read_headers(self, images: Sequence[ImageInput]) -> list[ImageHeader | ClipError]:
        return [HEADER for _ in images]

    async def check(self, image: bytes, header: ImageHeader) -> None:
        raise NotImplementedError

    async def encode(self, image: bytes, header: ImageHeader) -> Vector:
        self.seen.append(image)
        await asyncio.sleep(0.01)
        if image == b"bad":
            raise UndecodableImage("bad")
        return np.full(4, len(image), np.float32)


class CountingBackend(FakeBackend):
    rows = 0

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        self.rows += len(pixels)
        return await super().encode_image(pixels)


@pytest.fixture
def inner() -> Counting:
    return Counting()


def cache_of(size: int, inner: Counting) -> CachedImageEncoder:
    return CachedImageEncoder(inner, size, ThreadPoolExecutor(1), Metrics())


async def test_off_each_image_is_encoded(tmp_path: Path) -> None:
    backend = CountingBackend(DIM)
    async with serving(backend, await write_toy_artifact(tmp_path)) as service:
        before = backend.rows  # the self-test
        for _ in range(2):
            await service.embed(png(1))
        assert backend.rows - before == 2


async def test_the_same_bytes_are_encoded_once_also_at_the_same_time(inner: Counting) -> None:
    cache = cache_of(10_000, inner)
    vectors = await asyncio.gather(*(cache.encode(image, HEADER) for image in (b"cat", b"lion", b"cat")))
    assert [vector[0] for vector in vectors] == [3, 4, 3]
    assert (await cache.encode(b"lion", HEADER))[0] == 4
    assert sorted(inner.seen) == [b"cat", b"lion"]


async def test_an_error_is_not_kept(inner: Counting) -> None:
    cache = cache_of(10_000, inner)
    for _ in range(2):
        with pytest.raises(UndecodableImage):
            await cache.encode(b"bad", HEADER)
    assert inner.seen == [b"bad", b"bad"]


async def test_the_least_recently_used_goes_first_and_too_small_a_cache_keeps_nothing(
    inner: Counting,
) -> None:
    cache = cache_of(2 * (32 + 16 + 256), inner)
    for image in (b"a", b"b", b"a", b"c", b"a", b"b"):
        await cache.encode(image, HEADER)
    assert inner.seen == [b"a", b"b", b"c", b"b"]
    small = cache_of(1, inner)
    await small.encode(b"a", HEADER)
    await small.encode(b"a", HEADER)
    assert inner.seen[-2:] == [b"a", b"a"]


@asynccontextmanager
async def running(tmp_path: Path, backend: FakeBackend) -> AsyncIterator[Running]:
    async with serving(backend, await write_toy_artifact(tmp_path), image_cache_bytes=100_000) as service:
        yield service


async def test_a_request_with_the_same_image_three_times_and_a_broken_one_twice(tmp_path: Path) -> None:
    backend = CountingBackend(DIM)
    async with running(tmp_path, backend) as service:
        before = backend.rows  # the self-test
        answer = (
            await service.embed(png(1), b"\x89PNG\r\n\x1a\n", png(1), png(2), b"\x89PNG\r\n\x1a\n")
        ).json()
        results = answer["results"]
        assert results[0] == results[2] != results[3]
        assert [results[i]["error"]["index"] for i in (1, 4)] == [1, 4]
        again = (await service.embed(png(2), png(1))).json()
        assert again["results"] == [results[3], results[0]]
        assert backend.rows - before == 2
