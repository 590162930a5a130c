"""Encoders that leave the memory while nobody asks, and come back."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from clipserve.clip.artifact import ArtifactError
from clipserve.engine.backend import Embeddings, Pixels
from clipserve.engine.idle import Unloading
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.support.waiting import until

PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


class Encoders(FakeBackend):
    """Counts its starts, which wait for `may_start`. `fault`: why they fail; of the files, if an ArtifactError."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__(8, delay)
        self.closed_in_a_call = 0
        self.starts = 0
        self.fault: Exception | None = None
        self.may_start = asyncio.Event()
        self.may_start.set()

    @property
    def closed(self) -> bool:
        return not self._started

    async def start(self) -> None:
        self.starts += 1
        await self.may_start.wait()
        if self.fault:
            raise self.fault
        await super().start()

    def verify(self) -> None:
        if isinstance(self.fault, ArtifactError):
            raise self.fault

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        vectors = await super().encode_image(pixels)
        self.closed_in_a_call += self.closed
        return vectors


async def unloading(encoders: Encoders, seconds: float = 0.01) -> Unloading:
    backend = Unloading(encoders, seconds, encoders.verify, Metrics())
    await backend.start()
    return backend


async def test_idle_encoders_are_closed_after_a_while_and_started_for_the_next_call() -> None:
    encoders = Encoders()
    backend = await unloading(encoders)
    first = await backend.encode_image(PIXELS)
    await until(lambda: encoders.closed)
    assert await backend.ready()
    assert backend.engine == "fake"
    np.testing.assert_array_equal(await backend.encode_image(PIXELS), first)
    assert encoders.starts == 2
    await backend.aclose()
    assert not await backend.ready()


async def test_calls_that_come_to_closed_encoders_share_a_load_which_goes_on_without_them() -> None:
    encoders = Encoders()
    backend = await unloading(encoders)
    await until(lambda: encoders.closed)
    encoders.may_start.clear()
    gone, stays = (asyncio.create_task(backend.encode_image(PIXELS)) for _ in range(2))
    while encoders.starts < 2:
        await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    encoders.may_start.set()
    assert len(await stays) == 2
    assert encoders.starts == 2
    await backend.aclose()


async def test_encoders_stay_while_a_call_runs() -> None:
    encoders = Encoders(delay=0.1)
    backend = await unloading(encoders, seconds=0.001)
    for _ in range(3):
        assert len(await backend.encode_image(PIXELS)) == 2
        assert encoders.closed_in_a_call == 0
    await backend.aclose()


@pytest.mark.parametrize(
    ("fault", "said", "starts"),
    [
        pytest.param(
            ArtifactError("image.onnx has another digest"), "files have changed", 1, id="other files"
        ),
        pytest.param(BackendUnavailable("no memory"), "no memory", 2, id="an engine that cannot start"),
    ],
)
async def test_a_failed_load_is_tried_again_by_the_next_call(
    fault: Exception, said: str, starts: int
) -> None:
    encoders = Encoders()
    backend = await unloading(encoders)
    await until(lambda: encoders.closed)
    encoders.fault = fault
    with pytest.raises(BackendUnavailable, match=said):
        await backend.encode_image(PIXELS)
    assert (encoders.closed, encoders.starts, await backend.ready()) == (True, starts, False)
    encoders.fault = None
    assert len(await backend.encode_image(PIXELS)) == 2
    assert await backend.ready()
    await backend.aclose()


async def test_before_its_start_it_has_none() -> None:
    with pytest.raises(BackendUnavailable):
        await Unloading(Encoders(), 1, lambda: None, Metrics()).encode_image(PIXELS)
