"""Chooses the backend of an artifact: encoders in this process or on Triton, with a batcher around either."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from clipserve.application.served_model import reference_feeds
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, verify_files
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.tokenizer import tokenizer_of
from clipserve.cores import usable_cores
from clipserve.engine import cuda
from clipserve.engine.backend import Backend
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batched import Batched
from clipserve.engine.calls import Calls
from clipserve.engine.idle import Unloading
from clipserve.engine.in_process import EngineOptions, InProcess
from clipserve.errors import BackendUnavailable
from clipserve.settings import ModelSettings
from clipserve.telemetry.metrics import Metrics

# A call has as many images as take a quarter of a second, four at least: later requests wait for it.
_CALL_SECONDS = 0.25


def open_backend(
    on_lost: Callable[[], object],
    folder: Path,
    manifest: ModelManifest,
    settings: ModelSettings,
    metrics: Metrics,
) -> Backend:
    """The backend of the settings, not started. `on_lost`: see `InProcess`.

    Raises:
        BackendUnavailable: the settings require CUDA, and there is no GPU, or no onnxruntime for it.
    """
    if connect := settings.backend_kind.connect:
        return connect(manifest, settings.options, metrics)
    on_gpu = uses_gpu(settings)
    inner = in_process(folder, manifest, settings, settings.calls(on_gpu=on_gpu), on_lost, on_gpu=on_gpu)
    backend = batched(inner, settings, metrics, on_gpu=on_gpu, most_rows=inner.most_rows)
    if not settings.unload_after_seconds:
        return backend
    return Unloading(backend, settings.unload_after_seconds, partial(verify_files, folder, manifest), metrics)


def in_process(
    folder: Path,
    manifest: ModelManifest,
    settings: ModelSettings,
    calls: Calls,
    on_lost: Callable[[], object] = lambda: None,
    *,
    on_gpu: bool,
) -> InProcess:
    """Encoders in this process, without a batcher. `calls`: how many at a time. `on_lost`: see `InProcess`."""
    open_engine = settings.backend_kind.open_engine
    assert open_engine, f"{settings.backend} does not compute in this process"
    threads = calls.threads or usable_cores()
    options = settings.options(EngineOptions, cuda=on_gpu, threads=threads, workers=calls.workers)
    engine = open_engine(
        folder, manifest, options, lambda: reference_feeds(manifest, tokenizer_of(folder, manifest))
    )
    chosen = {IMAGE_GRAPH: settings.max_batch_images, TEXT_GRAPH: settings.max_batch_texts}
    fixed = [graph for graph, rows in chosen.items() if rows]
    return InProcess(engine, calls.workers, on_lost, partial(calls.each_size, manifest), fixed)


def uses_gpu(settings: ModelSettings) -> bool:
    """Whether encoders in this process run on the GPU.

    Raises:
        BackendUnavailable: the settings require CUDA, and `cuda.chosen` or the engine refuses it.
    """
    kind = settings.backend_kind
    if settings.device == "cuda" and kind.in_process and not kind.cuda:
        raise BackendUnavailable(
            f"device=cuda, but backend={settings.backend}, which runs on the CPU: set CLIPSERVE_BACKEND=onnx or "
            "CLIPSERVE_DEVICE=cpu."
        )
    return kind.cuda and cuda.chosen(settings.device)


def batched(
    inner: Backend,
    settings: ModelSettings,
    metrics: Metrics,
    *,
    on_gpu: bool = False,
    most_rows: Callable[[str], int] = lambda _: 0,
) -> Batched:
    """The batcher around encoders in this process. `most_rows`: see `InProcess.most_rows`.

    A number of images in the settings is used whatever its call takes.
    """
    calls = settings.calls(on_gpu=on_gpu)
    seconds = math.inf if settings.max_batch_images else _CALL_SECONDS
    images_now, texts_now = partial(most_rows, IMAGE_GRAPH), partial(most_rows, TEXT_GRAPH)
    image = BatchPolicy(calls.max_batch_images, calls.workers, max_rows_now=images_now, call_seconds=seconds)
    text = BatchPolicy(calls.max_batch_texts, calls.workers, calls.max_batch_tokens, texts_now)
    return Batched(inner, image, text, metrics)
