"""Which backend serves an artifact: encoders in this process or on Triton, with a batcher around either."""

from __future__ import annotations

from pathlib import Path

from clipserve.application.served_model import reference_feeds
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.engine.backend import Backend
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batched import Batched
from clipserve.engine.choice import EngineOptions, choose_engine
from clipserve.engine.cuda import Accelerator
from clipserve.engine.in_process import Engine, InProcess
from clipserve.engine.triton.contract import Tower
from clipserve.errors import BackendUnavailable
from clipserve.settings import ModelSettings
from clipserve.settings.engine import Calls
from clipserve.telemetry.metrics import Metrics

# Rows of one call to Triton, if its model takes so many; from there on a GPU gains little.
_TRITON_IMAGES = 64
_TRITON_TEXTS = 256


def open_backend(
    deadline_seconds: float,
    accelerator: Accelerator,
    folder: Path,
    manifest: ModelManifest,
    settings: ModelSettings,
    metrics: Metrics,
) -> Backend:
    """The backend that the settings ask for, not started yet. `accelerator`: who knows whether CUDA works.

    Raises:
        BackendUnavailable: it is not installed, or CUDA is asked for and does not work.
    """
    if settings.backend == "triton":
        return _on_triton(deadline_seconds, manifest, settings, metrics)
    calls = calls_of(settings, accelerator)
    return batched(in_process(folder, manifest, settings, accelerator), settings, metrics, calls)


def in_process(
    folder: Path, manifest: ModelManifest, settings: ModelSettings, accelerator: Accelerator
) -> InProcess:
    """The encoders in this process, without a batcher.

    Raises:
        BackendUnavailable: see `open_backend`.
    """
    engine = open_engine(folder, manifest, settings, accelerator)
    return InProcess(engine, calls_of(settings, accelerator).workers)


def uses_gpu(settings: ModelSettings, accelerator: Accelerator) -> bool:
    """Whether encoders in this process run on the GPU.

    Raises:
        BackendUnavailable: CUDA is asked for, and does not work or is not for this engine.
    """
    if settings.backend == "triton":
        return False
    if settings.backend == "openvino":
        if settings.device == "cuda":
            raise BackendUnavailable(
                "device=cuda, but backend=openvino, which runs on the CPU: set CLIPSERVE_BACKEND=onnx or "
                "CLIPSERVE_DEVICE=cpu."
            )
        return False
    return accelerator.chosen(settings.device)


def calls_of(settings: ModelSettings, accelerator: Accelerator) -> Calls:
    """The sizes of encoder calls in this process. Raises as `uses_gpu` does."""
    return settings.calls(on_gpu=uses_gpu(settings, accelerator))


def open_engine(
    folder: Path, manifest: ModelManifest, settings: ModelSettings, accelerator: Accelerator
) -> Engine:
    """The engine in this process that the settings ask for, not loaded yet.

    Raises:
        BackendUnavailable: see `open_backend`.
    """
    if settings.backend == "triton":
        raise ValueError("encoders on Triton are not in this process.")
    cuda, calls = uses_gpu(settings, accelerator), calls_of(settings, accelerator)
    return choose_engine(
        folder,
        manifest,
        EngineOptions(settings.backend, cuda, calls.threads, calls.workers, settings.spinning),
        lambda: reference_feeds(manifest, load_tokenizer(folder, manifest.text)),
    )


def batched(inner: Backend, settings: ModelSettings, metrics: Metrics, calls: Calls | None = None) -> Batched:
    """The batcher around encoders in this process; `calls`: those of a CPU, if nothing is said."""
    calls = calls or settings.calls(on_gpu=False)
    delay = settings.max_queue_delay_seconds
    return Batched(
        inner,
        image=BatchPolicy(calls.max_batch_images, delay, calls.workers),
        text=BatchPolicy(calls.max_batch_texts, delay, calls.workers, calls.max_batch_tokens),
        metrics=metrics,
    )


def _on_triton(
    deadline_seconds: float, manifest: ModelManifest, settings: ModelSettings, metrics: Metrics
) -> Backend:
    from clipserve.engine.triton.client import TritonBackend  # loads gRPC
    from clipserve.engine.triton.options import TritonOptions

    token = settings.triton_token.get_secret_value() if settings.triton_token else None
    options = TritonOptions(
        settings.triton_url, settings.triton_tls, settings.triton_ca_file, token, deadline_seconds
    )
    backend = TritonBackend(manifest, options, metrics)

    def policy(tower: Tower, rows: int) -> BatchPolicy:
        return BatchPolicy(rows, concurrency=settings.triton_calls, takes=lambda: backend.max_rows(tower))

    return Batched(backend, policy("image", _TRITON_IMAGES), policy("text", _TRITON_TEXTS), metrics)
