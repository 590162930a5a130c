"""Chooses the backend of an artifact: encoders in this process or on Triton, with a batcher around either."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from clipserve.application.served_model import reference_feeds
from clipserve.clip.artifact import verify_files
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.tokenizer import Tokenizer, load_tokenizer
from clipserve.cores import usable_cores
from clipserve.engine.backend import Backend
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batched import Batched
from clipserve.engine.cuda import Accelerator
from clipserve.engine.idle import Unloading
from clipserve.engine.in_process import EngineOptions, InProcess, ToLoad, TrialInputs
from clipserve.engine.lost import Lost
from clipserve.errors import BackendUnavailable
from clipserve.settings import ModelSettings
from clipserve.telemetry.metrics import Metrics

# A call has as many images as take a quarter of a second, at most `max_batch_images`: later requests wait for it.
# For a large model on a CPU these are four, which reach most of the gain of a batch; a fast GPU takes all in that
# time.
_CALL_SECONDS, _LEAST_IMAGES = 0.25, 4

_tokenizers: WeakValueDictionary[tuple[Path, str], Tokenizer] = WeakValueDictionary()


def open_backend(
    accelerator: Accelerator,
    folder: Path,
    manifest: ModelManifest,
    settings: ModelSettings,
    metrics: Metrics,
) -> Backend:
    """The backend of the settings, not started. `accelerator`: knows whether CUDA works.

    Raises:
        BackendUnavailable: it is not installed, or the settings require CUDA and it does not work.
    """
    if connect := settings.backend_kind.connect:
        return connect(manifest, settings.options, metrics)
    on_gpu = uses_gpu(settings, accelerator)
    inner = in_process(folder, manifest, settings, accelerator.lost, on_gpu=on_gpu)
    backend = batched(inner, settings, metrics, on_gpu=on_gpu)
    if not settings.unload_after_seconds:
        return backend
    return Unloading(backend, settings.unload_after_seconds, partial(verify_files, folder, manifest), metrics)


def in_process(
    folder: Path,
    manifest: ModelManifest,
    settings: ModelSettings,
    lost: Lost | None = None,
    *,
    on_gpu: bool,
) -> InProcess:
    """Encoders in this process, without a batcher. `lost`: see `InProcess`.

    Raises:
        BackendUnavailable: the engine is not installed.
    """
    engine = open_engine(folder, manifest, settings, on_gpu=on_gpu)
    return InProcess(engine, settings.calls(on_gpu=on_gpu).workers, lost=lost)


def uses_gpu(settings: ModelSettings, accelerator: Accelerator) -> bool:
    """Whether encoders in this process run on the GPU.

    Raises:
        BackendUnavailable: the settings require CUDA, and it does not work or the engine does not support it.
    """
    kind = settings.backend_kind
    if settings.device == "cuda" and kind.in_process and not kind.cuda:
        raise BackendUnavailable(
            f"device=cuda, but backend={settings.backend}, which runs on the CPU: set CLIPSERVE_BACKEND=onnx or "
            "CLIPSERVE_DEVICE=cpu."
        )
    return kind.cuda and accelerator.chosen(settings.device)


def open_engine(folder: Path, manifest: ModelManifest, settings: ModelSettings, *, on_gpu: bool) -> ToLoad:
    """The engine of the settings in this process. `on_gpu`: see `uses_gpu`.

    Raises:
        BackendUnavailable: it is not installed.
    """
    calls, open_it = settings.calls(on_gpu=on_gpu), settings.backend_kind.open_engine
    assert open_it, f"{settings.backend} does not compute in this process"
    options = settings.options(
        EngineOptions,
        cuda=on_gpu,
        threads=calls.threads or usable_cores(),
        workers=calls.workers,
        may_spin=settings.may_spin,
    )
    return open_it(folder, manifest, options, _reference(folder, manifest))


def _reference(folder: Path, manifest: ModelManifest) -> TrialInputs:
    return lambda: reference_feeds(manifest, tokenizer_of(folder, manifest))


def tokenizer_of(folder: Path, manifest: ModelManifest) -> Tokenizer:
    """The tokenizer of an artifact, which is read once while it is in use: this takes a tenth of a second.

    Raises:
        ArtifactError: it is missing or malformed.
    """
    key = folder, manifest.fingerprint()
    tokenizer = _tokenizers.get(key) or load_tokenizer(folder, manifest.text)
    _tokenizers[key] = tokenizer
    return tokenizer


def batched(inner: Backend, settings: ModelSettings, metrics: Metrics, *, on_gpu: bool = False) -> Batched:
    """The batcher around encoders in this process."""
    calls = settings.calls(on_gpu=on_gpu)
    delay = settings.max_queue_delay_seconds or 0.0
    return Batched(
        inner,
        image=image_policy(settings, on_gpu=on_gpu),
        text=BatchPolicy(calls.max_batch_texts, delay, calls.workers, calls.max_batch_tokens),
        metrics=metrics,
    )


def image_policy(settings: ModelSettings, *, on_gpu: bool) -> BatchPolicy:
    """The batching of images. A size in the settings is used whatever its call takes."""
    calls = settings.calls(on_gpu=on_gpu)
    delay = settings.max_queue_delay_seconds or 0.0
    policy = BatchPolicy(calls.max_batch_images, delay, calls.workers)
    if settings.max_batch_images is not None:
        return policy
    return replace(policy, call_seconds=_CALL_SECONDS, least_rows=_LEAST_IMAGES)
