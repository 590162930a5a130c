"""An image seen before is not encoded again, if asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clipserve.application.decoding.decoders import Decoders, Look, Result, Task
from clipserve.application.encoder import ImageEncoder
from clipserve.clip.artifact import read_manifest
from clipserve.clip.images import ImageHeader, ImageLimits
from clipserve.engine.backend import Vector
from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.support.service import DIM, Recording, png, serving, write_toy_artifact


class Counted:
    """An encoder with a cache, of bytes that are no image. `seen`: what was decoded."""

    def __init__(self, folder: Path, cache_bytes: int) -> None:
        self.seen: list[bytes] = []
        metrics, backend = Metrics(), FakeBackend(DIM, delay=0.01)
        decoders = Decoders(self._decode, 1, 10**9, metrics)
        self.backend = backend
        self._encoder = ImageEncoder(
            read_manifest(folder), backend, decoders, ImageLimits(), metrics, cache_bytes
        )

    def _decode(self, task: Task, ended: Callable[[Result], None]) -> None:
        self.seen.append(task.image)
        pixels = np.full((task.spec.size, task.spec.size, 3), len(task.image), np.uint8)
        asyncio.get_running_loop().call_soon(ended, Look(ImageHeader(100, 1_000), pixels))

    async def encode(self, *images: bytes) -> list[Vector]:
        await self.backend.start()
        encoded = await asyncio.gather(*(self._encoder.encode(image) for image in images))
        return [each.vector for each in encoded]


async def test_the_same_bytes_are_encoded_once_also_at_the_same_time(toy: Path) -> None:
    cached = Counted(toy, 10_000)
    cat, lion, again = await cached.encode(b"cat", b"lion", b"cat")
    assert np.array_equal(cat, again)
    assert not np.array_equal(cat, lion)
    assert np.array_equal((await cached.encode(b"lion"))[0], lion)
    assert sorted(cached.seen) == [b"cat", b"lion"]


async def test_a_request_with_the_same_image_three_times_and_a_broken_one_twice(tmp_path: Path) -> None:
    backend = Recording()
    async with serving(backend, await write_toy_artifact(tmp_path), image_cache_bytes=100_000) as service:
        backend.images.clear()  # those of the self-test
        answer = (
            await service.embed(png(1), b"\x89PNG\r\n\x1a\n", png(1), png(2), b"\x89PNG\r\n\x1a\n")
        ).json()
        results = answer["results"]
        assert results[0] == results[2] != results[3]
        assert [results[i]["error"]["index"] for i in (1, 4)] == [1, 4]
        again = (await service.embed(png(2), png(1))).json()
        assert again["results"] == [results[3], results[0]]
        assert sum(backend.images) == 2
