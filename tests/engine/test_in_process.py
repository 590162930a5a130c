"""An engine that is lost: a GPU that fails all calls from some moment on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.engine import in_process
from clipserve.engine.backend import Embeddings
from clipserve.engine.in_process import Feeds, InProcess
from clipserve.errors import BackendFailed, BackendUnavailable
from tests.support.logs import Log
from tests.support.service import eventually

PIXELS = np.zeros((1, 2, 2, 3), np.uint8)


class Gpu:
    """An `Engine` whose calls wait for `may_run`, of images alone if `texts_run`, and fail with `fault`.

    `runs`: one has begun. While `gone`, it is lost too; a probe waits for `may_try`.
    """

    name = "gpu"
    precision: str | None = None
    on_gpu = True

    def __init__(self, fault: str, gone: bool = False) -> None:
        self.fault = fault
        self.gone = gone
        self.runs, self.may_run = threading.Event(), threading.Event()
        self.may_run.set()
        self.texts_run = False
        self.probes = 0
        self.may_try = threading.Event()
        self.may_try.set()

    def load(self) -> Gpu:
        return self

    def close(self) -> None: ...

    def lost(self) -> str | None:
        self.may_try.wait(60)
        self.probes += 1
        return self.fault if self.gone else None

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        self.runs.set()
        if not (self.texts_run and graph == TEXT_GRAPH):
            self.may_run.wait(60)
        if self.fault:
            raise RuntimeError(self.fault)
        return np.array([[1.0, 0.0, 0.0, 0.0]], np.float32)


ILLEGAL = "CUDA error 700: an illegal memory access"


MEMORY = "Failed to allocate memory for requested buffer of size 9633792"


async def backend_of(gpu: Gpu, lost: list[str] | None = None) -> InProcess:
    """Started, and its first call has failed. `lost` gets an entry when it is lost."""
    told = [] if lost is None else lost
    backend = InProcess(gpu, on_lost=lambda: told.append("lost"))
    await backend.start()
    with pytest.raises(BackendFailed):
        await backend.encode_image(PIXELS)
    return backend


async def test_an_error_of_one_call_does_not_make_the_gpu_lost() -> None:
    gpu = Gpu("CUDA error 9: invalid configuration argument")
    backend = await backend_of(gpu)
    assert await backend.ready()
    gpu.fault = ""
    assert (await backend.encode_image(PIXELS)).shape == (1, 4)
    await backend.aclose()


async def test_a_gpu_on_which_one_text_fails_too_is_lost_once_and_for_good(written: Log) -> None:
    gpu, lost = Gpu(ILLEGAL, gone=True), list[str]()
    backend = await backend_of(gpu, lost)
    gpu.fault, gpu.gone = "", False
    assert not await backend.ready()
    with pytest.raises(BackendUnavailable, match="the GPU has failed"):
        await backend.encode_image(PIXELS)
    await backend.aclose()
    assert (lost, written.events) == (["lost"], ["engine_failed", "engine_lost"])


async def test_a_gpu_on_which_one_text_does_not_end_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "PROBE_SECONDS", 0.01)
    gpu = Gpu(ILLEGAL)
    gpu.may_try.clear()
    backend = await backend_of(gpu)
    assert not await backend.ready()
    gpu.may_try.set()
    await backend.aclose()


@pytest.mark.parametrize(
    "error",
    [
        MEMORY,
        "CUDA failure 2: out of memory ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "Available memory of 0 is smaller than requested bytes of 9633792",
    ],
)
async def test_a_lack_of_memory_is_503_with_a_smaller_call_next_time_and_not_a_lost_gpu(error: str) -> None:
    gpu, lost = Gpu(error, gone=True), list[str]()
    backend = InProcess(gpu, on_lost=lambda: lost.append("lost"))
    await backend.start()
    for most in (4, 2, 1, 1):
        with pytest.raises(BackendUnavailable, match="too little memory for a call of"):
            await backend.encode_image(np.concatenate([PIXELS] * 2 * most))
        assert backend.most_rows(IMAGE_GRAPH) == most
    assert (backend.most_rows(TEXT_GRAPH), gpu.probes, lost, await backend.ready()) == (0, 0, [], True)
    await backend.aclose()


async def test_a_probe_that_lacks_memory_does_not_make_the_gpu_lost() -> None:
    gpu = Gpu("CUDA error 9: invalid configuration argument", gone=True)
    gpu.lost = lambda: MEMORY  # type: ignore[method-assign]
    backend = await backend_of(gpu)
    assert await backend.ready()
    await backend.aclose()


class Small(Gpu):
    """A GPU whose memory is enough for `most` rows. `sizes`: those of the calls that it was given."""

    def __init__(self, most: int) -> None:
        super().__init__("")
        self.most, self.sizes = most, list[int]()

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        rows = len(next(iter(feeds.values())))
        self.sizes.append(rows)
        self.fault = MEMORY if rows > self.most else ""
        return super().run(graph, feeds)


def sizes(*rows: int) -> Callable[[], Iterable[tuple[str, Feeds]]]:
    return lambda: [(IMAGE_GRAPH, {"pixels": np.concatenate([PIXELS] * each)}) for each in rows]


async def test_calls_of_each_size_run_on_a_gpu_before_it_is_ready() -> None:
    gpu = Small(64)
    backend = InProcess(gpu, first_calls=sizes(8, 4, 1))
    await backend.start()
    assert (gpu.sizes, backend.most_rows(IMAGE_GRAPH)) == ([8, 4, 1], 0)
    await backend.aclose()


async def test_usual_sizes_shrink_to_what_the_memory_suffices_for() -> None:
    gpu = Small(3)
    backend = InProcess(gpu, first_calls=sizes(16, 8, 4, 2, 1))
    await backend.start()
    assert (gpu.sizes, backend.most_rows(IMAGE_GRAPH)) == ([16, 8, 4, 2, 1], 2)
    await backend.aclose()


@pytest.mark.parametrize(
    ("most", "fixed"),
    [pytest.param(3, [IMAGE_GRAPH], id="the operator's"), pytest.param(0, [], id="one row")],
)
async def test_a_size_that_must_fit_and_does_not_is_refused_at_the_start(most: int, fixed: list[str]) -> None:
    backend = InProcess(Small(most), first_calls=sizes(4, 1), fixed=fixed)
    with pytest.raises(BackendUnavailable, match="Set CLIPSERVE_MAX_BATCH_IMAGES"):
        await backend.start()
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
