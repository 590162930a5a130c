"""An engine that is lost: a GPU that fails all calls from some moment on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest

from clipserve.clip.artifact import TEXT_GRAPH
from clipserve.engine import lost as searching
from clipserve.engine.backend import Embeddings
from clipserve.engine.cuda import Accelerator
from clipserve.engine.in_process import EngineCall, Feeds, InProcess
from clipserve.engine.lost import Lost
from clipserve.errors import BackendFailed, BackendUnavailable
from tests.logs import Log
from tests.support import eventually
from tests.waiting import until

PIXELS = np.zeros((1, 2, 2, 3), np.uint8)


class Gpu:
    """An `Engine` whose calls wait for `may_run`, of images alone if `texts_run`, and fail with `fault`.

    `runs`: one has begun. While `gone`, it is lost too; a trial waits for `may_try`. `vector`: what a call answers.
    """

    name = "gpu"
    precision = None
    facts: Mapping[str, object] = MappingProxyType({})
    on_gpu = True

    def __init__(self, fault: str, gone: bool = False) -> None:
        self.fault = fault
        self.gone = gone
        self.runs, self.may_run = threading.Event(), threading.Event()
        self.may_run.set()
        self.texts_run = False
        self.trials = 0
        self.may_try = threading.Event()
        self.may_try.set()
        self.vector = [1.0, 0.0, 0.0, 0.0]

    def load(self) -> Gpu:
        return self

    def close(self) -> None: ...

    def lost(self) -> str | None:
        self.may_try.wait(60)
        self.trials += 1
        return self.fault if self.gone else None

    def call(self, graph: str, feeds: Feeds) -> EngineCall:
        return Run(self, waits=not (self.texts_run and graph == TEXT_GRAPH))


class Run:
    def __init__(self, gpu: Gpu, waits: bool) -> None:
        self._gpu = gpu
        self._waits = waits

    def run(self) -> Embeddings:
        self._gpu.runs.set()
        if self._waits:
            self._gpu.may_run.wait(60)
        if self._gpu.fault:
            raise RuntimeError(self._gpu.fault)
        return np.array([self._gpu.vector], np.float32)

    def cancel(self) -> None: ...


ILLEGAL = "CUDA error 700: an illegal memory access"


async def backend_of(gpu: Gpu, again_seconds: float = 100, lost: Lost | None = None) -> InProcess:
    """Started, and its first call has failed."""
    backend = InProcess(gpu, again_seconds=again_seconds, lost=lost)
    await backend.start()
    with pytest.raises(BackendFailed):
        await backend.encode_image(PIXELS)
    return backend


async def not_ready(backend: InProcess) -> bool:
    return not await backend.ready()


async def test_an_error_of_one_call_does_not_make_the_gpu_lost() -> None:
    gpu = Gpu("CUDA error 2: out of memory")
    backend = await backend_of(gpu)
    assert await backend.ready()
    gpu.fault = ""
    assert (await backend.encode_image(PIXELS)).shape == (1, 4)
    await backend.aclose()


async def test_a_lost_gpu_is_not_ready_until_it_is_found_again(written: Log) -> None:
    gpu = Gpu(ILLEGAL, gone=True)
    accelerator = Accelerator()
    backend = await backend_of(gpu, again_seconds=0.01, lost=accelerator.lost)
    assert not await backend.ready()
    await eventually(lambda: bool(accelerator.lost_seconds))
    with pytest.raises(BackendUnavailable, match="the GPU has failed"):
        await backend.encode_image(PIXELS)
    gpu.fault, gpu.gone = "", False
    await until(backend.ready)
    assert (await backend.encode_image(PIXELS)).shape == (1, 4)
    await backend.aclose()
    assert written.events == ["engine_failed", "engine_lost", "engine_found"]
    assert accelerator.lost_seconds == 0.0


async def test_a_gpu_on_which_a_small_graph_does_not_end_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "TRIAL_SECONDS", 0.01)
    gpu = Gpu(ILLEGAL, gone=True)
    gpu.may_try.clear()
    backend = await backend_of(gpu, again_seconds=0.01)
    assert not await backend.ready()
    gpu.gone = False
    gpu.may_try.set()
    await until(backend.ready)
    await backend.aclose()


async def test_a_gpu_on_which_a_call_hangs_that_nobody_waits_for_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(searching, "TRIAL_SECONDS", 0.01)
    gpu = Gpu("")
    gpu.may_run.clear()
    backend = InProcess(gpu, again_seconds=0.01)
    await backend.start()
    call = asyncio.create_task(backend.encode_image(PIXELS))
    await eventually(gpu.runs.is_set)
    gpu.may_try.clear()
    call.cancel()
    await until(lambda: not_ready(backend))
    gpu.may_run.set()
    gpu.may_try.set()
    await until(backend.ready)
    await backend.aclose()


@pytest.mark.parametrize("vector", [[0.0] * 4, [1.0] * 4, [float("nan")] * 4, [float("inf"), 0.0, 0.0, 0.0]])
async def test_an_answer_of_a_gpu_that_is_not_of_unit_length_is_a_failure_of_it(vector: list[float]) -> None:
    gpu = Gpu("")
    gpu.vector = vector
    backend = InProcess(gpu)
    await backend.start()
    with pytest.raises(BackendFailed):
        await backend.encode_image(PIXELS)
    assert await backend.ready(), "its small graph has run"
    await backend.aclose()


async def test_a_text_does_not_wait_for_images_on_a_gpu() -> None:
    gpu = Gpu("")
    gpu.texts_run = True
    gpu.may_run.clear()
    backend = InProcess(gpu, workers=2)
    await backend.start()
    images = [asyncio.create_task(backend.encode_image(PIXELS)) for _ in range(3)]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await backend.encode_text(np.zeros((1, 8), np.int32), np.array([1], np.int32))
    assert not any(image.done() for image in images)
    gpu.may_run.set()
    await asyncio.gather(*images)
    await backend.aclose()


async def test_the_end_does_not_wait_for_a_lost_gpu_and_ends_the_search() -> None:
    gpu, lost = Gpu(ILLEGAL, gone=True), dict[object, float]()
    backend = await backend_of(gpu, lost=lost)
    await eventually(lambda: bool(lost))
    await asyncio.sleep(0.05)
    assert gpu.trials == 1, "the next is a hundred seconds later"
    async with asyncio.timeout(60):
        await backend.aclose()
    assert not await backend.ready()
    await eventually(lambda: not lost)


async def test_a_call_that_fails_during_the_end_fails_as_any_other() -> None:
    gpu = Gpu(ILLEGAL, gone=True)
    gpu.may_run.clear()
    backend = InProcess(gpu)
    await backend.start()
    call = asyncio.create_task(backend.encode_image(PIXELS))
    await eventually(gpu.runs.is_set)
    await backend.aclose()
    gpu.may_run.set()
    with pytest.raises(BackendFailed):
        await call
