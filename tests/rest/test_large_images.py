"""A request of large images holds up no request of a small one by more than the image that is being decoded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from loadtests.fake_backend import FakeBackend
from tests.clip.test_images import encoded
from tests.support import DIM, Running, eventually, png, serving, write_toy_artifact

MANY = 8


@pytest.fixture(scope="module")
def large_image() -> bytes:
    """194 MB of pixels; with so many bytes behind its end that it might be a photo."""
    return encoded(Image.new("RGB", (4_000, 3_000)), "WEBP", lossless=True) + bytes(200_000)


def figure(running: Running, name: str, **labels: str) -> float:
    return running.gateway.metrics.registry.get_sample_value(f"clipserve_{name}", labels) or 0.0


@pytest.mark.parametrize("processes", [False, True])
async def test_a_small_image_is_answered_before_many_large_ones(
    tmp_path: Path, large_image: bytes, processes: bool
) -> None:
    toy = await write_toy_artifact(tmp_path / "toy")
    async with serving(
        FakeBackend(DIM), toy, decode_threads=1, decode_processes=processes, deadline_seconds=300
    ) as running:
        running.client.timeout = 300  # as the deadline: a busy machine takes more than the usual 20 s
        large = asyncio.create_task(running.embed(*[large_image] * MANY))
        # All but one at first; a fast decoder may have begun others before this looks.
        await eventually(lambda: figure(running, "decode_waiting") > 2, 60)
        before = figure(running, "decode_waiting")
        small = await running.embed(png())
        assert small.status_code == 200
        assert not large.done()
        assert figure(running, "decode_waiting") >= before - 2
        assert (await large).status_code == 200
        assert (figure(running, "decode_bytes"), figure(running, "decode_waiting")) == (0, 0)


async def test_the_images_of_a_client_who_left_are_not_decoded(tmp_path: Path, large_image: bytes) -> None:
    toy = await write_toy_artifact(tmp_path / "toy")
    async with serving(FakeBackend(DIM), toy, decode_threads=1) as running:
        large = asyncio.create_task(running.embed(*[large_image] * MANY))
        await eventually(lambda: figure(running, "decode_waiting") > 2, 60)
        large.cancel()
        before = figure(running, "stage_seconds_count", stage="encode_image")
        await eventually(lambda: figure(running, "decode_waiting") == 0, 60)
        await eventually(lambda: figure(running, "decode_bytes") == 0, 60)
        # Those that were decoded until the service saw that the client had left.
        assert figure(running, "stage_seconds_count", stage="encode_image") - before < 3
