"""An engine that is lost: a GPU that fails all calls from some moment on."""

from __future__ import annotations

import asyncio
import io
import json

import numpy as np
import pytest

from service.engine.backend import Embeddings
from service.engine.in_process import Call, Feeds, InProcess
from service.errors import BackendFailed, BackendUnavailable

PIXELS = np.zeros((1, 2, 2, 3), np.uint8)


class Gpu:
    """An `Engine` whose calls fail while `fault` says why; it is lost while `gone`, too."""

    name = "gpu"
    precision = None
    on_gpu = True
    fault = ""
    gone = False

    def load(self) -> None: ...
    def close(self) -> None: ...

    def lost(self) -> str | None:
        return self.fault if self.gone else None

    def call(self, graph: str, feeds: Feeds) -> Call:
        return Run(self)


class Run:
    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def run(self) -> Embeddings:
        if self._gpu.fault:
            raise RuntimeError(self._gpu.fault)
        return np.ones((1, 4), np.float32)

    def cancel(self) -> None: ...


async def test_an_error_of_one_call_does_not_make_the_gpu_lost() -> None:
    gpu = Gpu()
    backend = InProcess(gpu)
    await backend.start()
    gpu.fault = "CUDA error 2: out of memory"
    with pytest.raises(BackendFailed):
        await backend.encode_image(PIXELS)
    assert await backend.ready()
    gpu.fault = ""
    assert (await backend.encode_image(PIXELS)).shape == (1, 4)
    await backend.aclose()


async def test_a_lost_gpu_is_not_ready_until_it_is_found_again(written: io.StringIO) -> None:
    gpu = Gpu()
    backend = InProcess(gpu, again_seconds=0.01)
    await backend.start()
    gpu.fault, gpu.gone = "CUDA error 700: an illegal memory access", True
    with pytest.raises(BackendFailed):
        await backend.encode_image(PIXELS)
    assert not await backend.ready()
    with pytest.raises(BackendUnavailable, match="the GPU has failed"):
        await backend.encode_image(PIXELS)
    gpu.fault, gpu.gone = "", False
    async with asyncio.timeout(5):
        while not await backend.ready():
            await asyncio.sleep(0.01)
    assert (await backend.encode_image(PIXELS)).shape == (1, 4)
    await backend.aclose()
    events = [json.loads(line)["event"] for line in written.getvalue().splitlines()]
    assert events == ["engine_failed", "engine_lost", "engine_found"]


async def test_the_end_does_not_wait_for_a_lost_gpu() -> None:
    gpu = Gpu()
    backend = InProcess(gpu, again_seconds=100)
    await backend.start()
    gpu.fault, gpu.gone = "CUDA error 700: an illegal memory access", True
    with pytest.raises(BackendFailed):
        await backend.encode_image(PIXELS)
    async with asyncio.timeout(5):
        await backend.aclose()
    assert not await backend.ready()
