"""An engine that is lost: a GPU that fails all calls from some moment on."""

from __future__ import annotations

import asyncio
import io
import json
import threading

import numpy as np
import pytest

from clipserve.engine.backend import Embeddings
from clipserve.engine.in_process import EngineCall, Feeds, InProcess
from clipserve.errors import BackendFailed, BackendUnavailable

PIXELS = np.zeros((1, 2, 2, 3), np.uint8)


class Gpu:
    """An `Engine` whose calls wait for `may_run`, and fail with `fault`; while `gone`, it is lost too."""

    name = "gpu"
    precision = None
    on_gpu = True

    def __init__(self, fault: str, gone: bool = False) -> None:
        self.fault = fault
        self.gone = gone
        self.may_run = threading.Event()
        self.may_run.set()

    def load(self) -> Gpu:
        return self

    def close(self) -> None: ...

    def lost(self) -> str | None:
        return self.fault if self.gone else None

    def call(self, graph: str, feeds: Feeds) -> EngineCall:
        return Run(self)


class Run:
    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def run(self) -> Embeddings:
        self._gpu.may_run.wait(10)
        if self._gpu.fault:
            raise RuntimeError(self._gpu.fault)
        return np.ones((1, 4), np.float32)

    def cancel(self) -> None: ...


ILLEGAL = "CUDA error 700: an illegal memory access"


async def backend_of(gpu: Gpu, again_seconds: float = 100) -> InProcess:
    """Started, and its first call has failed."""
    backend = InProcess(gpu, again_seconds=again_seconds)
    await backend.start()
    with pytest.raises(BackendFailed):
        await backend.encode_image(PIXELS)
    return backend


async def test_an_error_of_one_call_does_not_make_the_gpu_lost() -> None:
    gpu = Gpu("CUDA error 2: out of memory")
    backend = await backend_of(gpu)
    assert await backend.ready()
    gpu.fault = ""
    assert (await backend.encode_image(PIXELS)).shape == (1, 4)
    await backend.aclose()


async def test_a_lost_gpu_is_not_ready_until_it_is_found_again(written: io.StringIO) -> None:
    gpu = Gpu(ILLEGAL, gone=True)
    backend = await backend_of(gpu, again_seconds=0.01)
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
    backend = await backend_of(Gpu(ILLEGAL, gone=True))
    async with asyncio.timeout(5):
        await backend.aclose()
    assert not await backend.ready()


async def test_a_call_that_fails_during_the_end_fails_as_any_other() -> None:
    gpu = Gpu(ILLEGAL, gone=True)
    gpu.may_run.clear()
    backend = InProcess(gpu)
    await backend.start()
    call = asyncio.create_task(backend.encode_image(PIXELS))
    await asyncio.sleep(0.05)
    await backend.aclose()
    gpu.may_run.set()
    with pytest.raises(BackendFailed):
        await call
