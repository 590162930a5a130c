"""Encoders that leave the memory while nobody asks, and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.engine.backend import Embeddings, Pixels
from clipserve.engine.idle import Unloading
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.waiting import until

PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
TEXT = {"token_ids": np.ones((1, 8), np.int32), "lengths": np.array([3], np.int32)}


class Encoders(FakeBackend):
    """Counts its starts, which wait for `may_start`. `other`: they give the vectors of other files."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__(8, delay)
        self.closed_in_a_call = 0
        self.starts = 0
        self.other = False
        self.may_start = asyncio.Event()
        self.may_start.set()

    @property
    def closed(self) -> bool:
        return not self._started

    async def start(self) -> None:
        self.starts += 1
        await self.may_start.wait()
        await super().start()

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        vectors = await super().encode_image(255 - pixels if self.other else pixels)
        self.closed_in_a_call += self.closed
        return vectors


def inputs() -> Mapping[str, Mapping[str, Any]]:
    return {IMAGE_GRAPH: {"pixels": PIXELS}, TEXT_GRAPH: TEXT}


async def unloading(encoders: Encoders, seconds: float = 0.01) -> Unloading:
    backend = Unloading(encoders, seconds, inputs, Metrics())
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


async def test_files_that_have_changed_while_the_encoders_were_closed_are_noticed() -> None:
    encoders = Encoders()
    backend = await unloading(encoders)
    await until(lambda: encoders.closed)
    encoders.other = True
    with pytest.raises(BackendUnavailable, match="files have changed"):
        await backend.encode_image(PIXELS)
    assert not await backend.ready()
    assert encoders.closed
    encoders.other = False
    assert len(await backend.encode_image(PIXELS)) == 2
    assert await backend.ready()
    await backend.aclose()


async def test_before_its_start_it_has_none() -> None:
    with pytest.raises(BackendUnavailable):
        await Unloading(Encoders(), 1, inputs, Metrics()).encode_image(PIXELS)
