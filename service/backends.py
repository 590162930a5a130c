"""Which backend serves an artifact: encoders in this process or on Triton, with a batcher around either."""

from __future__ import annotations

from pathlib import Path

from service.application.served_model import reference_feeds
from service.clip.manifest import ModelManifest
from service.clip.tokenizer import load_tokenizer
from service.engine.backend import Backend
from service.engine.batch_queue import BatchPolicy
from service.engine.batching import Batched
from service.engine.choice import EngineOptions, choose_engine
from service.engine.in_process import InProcess
from service.engine.triton.contract import Tower
from service.settings import ModelSettings
from service.telemetry.metrics import Metrics

# Rows of one call to Triton, if its model takes so many; from there on a GPU gains little.
_TRITON_IMAGES = 64
_TRITON_TEXTS = 256


def open_backend(
    deadline_seconds: float, folder: Path, manifest: ModelManifest, settings: ModelSettings, metrics: Metrics
) -> Backend:
    """The backend that the settings ask for, not started yet.

    Raises:
        BackendUnavailable: it is not installed.
    """
    if settings.backend == "triton":
        return _on_triton(deadline_seconds, manifest, settings, metrics)
    return batched(in_process(folder, manifest, settings), settings, metrics)


def in_process(folder: Path, manifest: ModelManifest, settings: ModelSettings) -> InProcess:
    """The encoders in this process, without a batcher.

    Raises:
        BackendUnavailable: the engine that the settings ask for is not installed.
    """
    if settings.backend == "triton":
        raise ValueError("encoders on Triton are not in this process.")
    engine = choose_engine(
        folder,
        manifest,
        EngineOptions(
            settings.backend, settings.device, settings.threads, settings.workers, settings.spinning
        ),
        lambda: reference_feeds(manifest, load_tokenizer(folder, manifest.text)),
    )
    return InProcess(engine, settings.workers)


def batched(inner: Backend, settings: ModelSettings, metrics: Metrics) -> Batched:
    """The batcher that the settings ask for, around encoders in this process."""
    delay, workers = settings.max_queue_delay_seconds, settings.workers
    return Batched(
        inner,
        image=BatchPolicy(settings.max_batch_images, delay, workers),
        text=BatchPolicy(settings.max_batch_texts, delay, workers, settings.max_batch_tokens),
        metrics=metrics,
    )


def _on_triton(
    deadline_seconds: float, manifest: ModelManifest, settings: ModelSettings, metrics: Metrics
) -> Backend:
    from service.engine.triton.client import TritonBackend  # loads gRPC
    from service.engine.triton.options import TritonOptions

    token = settings.triton_token.get_secret_value() if settings.triton_token else None
    options = TritonOptions(
        settings.triton_url, settings.triton_tls, settings.triton_ca_file, token, deadline_seconds
    )
    backend = TritonBackend(manifest, options, metrics)

    def policy(tower: Tower, rows: int) -> BatchPolicy:
        return BatchPolicy(rows, concurrency=settings.triton_calls, takes=lambda: backend.max_rows(tower))

    return Batched(backend, policy("image", _TRITON_IMAGES), policy("text", _TRITON_TEXTS), metrics)
