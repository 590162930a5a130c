"""The only place where objects meet: settings in, a running service out, everything closed in one place."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import uvicorn
from starlette.types import ASGIApp

from service.application.admission import Admission
from service.application.classifiers import Classifiers
from service.application.encoder import DualEncoder
from service.application.image_cache import VectorCache
from service.application.inference import InferenceService, RequestLimits, ServedModel
from service.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, ArtifactError, read_manifest, verify_files
from service.clip.images import ImageLimits
from service.clip.manifest import ModelManifest
from service.clip.reference import REFERENCE_TEXTS, reference_pixels
from service.clip.tokenizer import load_tokenizer
from service.concurrency import together
from service.cores import usable_cores, yield_to_event_loop
from service.engine.backend import Backend
from service.engine.batch_queue import BatchPolicy
from service.engine.batching import Batched
from service.engine.fastest import Fastest
from service.engine.in_process import Engine, Feeds, InProcess
from service.engine.onnx import OnnxEngine, OnnxOptions, has_cuda
from service.errors import BackendUnavailable
from service.rest.app import build_app
from service.rest.lifeline import LifelineLimits
from service.settings import Settings, settings_of
from service.telemetry.log import logger
from service.telemetry.metrics import Metrics

T = TypeVar("T")
OpenBackend = Callable[[Path, ModelManifest, Settings, Metrics], Backend]


@dataclass(frozen=True)
class Service:
    """A service that can be asked at once, and is ready when `warm_up` has returned."""

    app: ASGIApp
    metrics: Metrics
    models: dict[Path, ServedModel]

    async def warm_up(self) -> None:
        """Check the artifacts' files, load the engines, run the self-tests; no model waits for another.

        Raises:
            ArtifactError, BackendUnavailable, BackendFailed: a model can not be served; the message says why.
        """
        await together(_warm(folder, model) for folder, model in self.models.items())


def settle_memory() -> None:
    """For a process that is ready: what is in memory now stays, so the garbage collector need not look at it again.

    Nor need it look often: neither an answer nor a failure leaves cycles behind (`service.concurrency`). Its work
    was a sixth of the gateway's own.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@asynccontextmanager
async def open_service(settings: Settings, open_backend: OpenBackend | None = None) -> AsyncIterator[Service]:
    """Build all objects; on leaving, end all that they began.

    `open_backend` replaces the backend that the settings ask for.

    Raises:
        ArtifactError: a folder of `settings.models` is not an artifact, or two hold models of one name.
    """
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        preprocessing = stack.enter_context(
            ThreadPoolExecutor(settings.decode_threads or usable_cores(), "preprocess", yield_to_event_loop)
        )
        models: dict[Path, ServedModel] = {}
        for folder in settings.models:
            manifest = read_manifest(folder)
            own = settings_of(settings, manifest.name)
            backend = (open_backend or backend_of)(folder, manifest, own, metrics)
            tokenizer = load_tokenizer(folder, manifest.text)
            limits = _picked(own, ImageLimits)
            cache = VectorCache(own.image_cache_bytes, preprocessing, metrics)
            encoder = DualEncoder(manifest, tokenizer, backend, preprocessing, limits, metrics, cache)
            stack.push_async_callback(encoder.aclose)
            models[folder] = ServedModel(
                encoder,
                Classifiers(encoder, settings.label_cache_bytes, metrics),
                Admission(settings.max_queue_seconds, metrics),
            )
        service = InferenceService(_by_name(models, settings), _picked(settings, RequestLimits))
        app = build_app(service, _picked(settings, LifelineLimits), settings.max_json_bytes, metrics)
        yield Service(app, metrics, models)


async def _warm(folder: Path, model: ServedModel) -> None:
    started = time.monotonic()
    manifest = model.encoder.manifest
    await asyncio.to_thread(verify_files, folder, manifest)
    cosine = await model.encoder.start()
    model.warm = True
    logger.info(
        "model_ready",
        model=manifest.name,
        fingerprint=model.encoder.fingerprint,
        self_test_cosine=round(cosine, 6),
        seconds=round(time.monotonic() - started, 2),
    )


def _by_name(models: dict[Path, ServedModel], settings: Settings) -> dict[str, ServedModel]:
    by_name = {model.name: model for model in models.values()}
    if len(by_name) != len(settings.models):
        raise ArtifactError("two of the artifacts in CLIPSERVE_MODELS have the same name.")
    if strangers := settings.model_settings.keys() - by_name:
        raise ArtifactError(
            f"CLIPSERVE_MODEL_SETTINGS is about {', '.join(sorted(strangers))}, but what is served is "
            f"{', '.join(by_name)}."
        )
    return by_name


def backend_of(folder: Path, manifest: ModelManifest, settings: Settings, metrics: Metrics) -> Backend:
    """The backend that the settings ask for.

    Raises:
        BackendUnavailable: it is not installed.
    """
    if settings.backend == "triton":
        return _remote(manifest, settings, metrics)
    return batched(InProcess(_engine(folder, manifest, settings), settings.workers), settings, metrics)


def batched(inner: Backend, settings: Settings, metrics: Metrics) -> Batched:
    """The batcher that the settings ask for, around encoders in this process."""
    delay, workers = settings.max_queue_delay_seconds, settings.workers
    return Batched(
        inner,
        image=BatchPolicy(settings.max_batch_images, delay, workers),
        text=BatchPolicy(settings.max_batch_texts, delay, workers, settings.max_batch_tokens),
        metrics=metrics,
    )


def _engine(folder: Path, manifest: ModelManifest, settings: Settings) -> Engine:
    threads = settings.threads or usable_cores()
    onnx = OnnxEngine(folder, OnnxOptions(settings.device, threads, settings.spinning))
    if settings.backend == "onnx" or (settings.device != "cpu" and (settings.device == "cuda" or has_cuda())):
        return onnx
    try:
        from service.engine.openvino import OpenVinoEngine, Precision, computes_bf16  # optional
    except ImportError:
        if settings.backend == "openvino":
            raise BackendUnavailable(
                "backend=openvino, but OpenVINO is not installed: pip install -r requirements/openvino.txt, or set "
                "CLIPSERVE_BACKEND=auto."
            ) from None
        return onnx
    bf16 = computes_bf16()
    # Beside int8, bf16 gains 5 % and costs agreement.
    precision: Precision = "bf16" if bf16 and manifest.precision == "fp32" else "f32"
    openvino = OpenVinoEngine(folder, threads * settings.workers, settings.workers, precision)
    if settings.backend == "openvino":
        return openvino
    # On a CPU without bf16 the two are on a par, in int8 too, and OpenVINO takes half as much memory again: a trial
    # would cost seconds of every start and gain nothing.
    return Fastest([onnx, openvino], _reference_inputs(folder, manifest)) if bf16 else onnx


def _reference_inputs(folder: Path, manifest: ModelManifest) -> dict[str, Feeds]:
    tokenizer = load_tokenizer(folder, manifest.text)
    rows = tokenizer.encode(REFERENCE_TEXTS, truncate=True)
    length = manifest.text.padded_length(max(len(row.ids) for row in rows))
    token_ids, lengths = tokenizer.pad(rows, length)
    return {
        IMAGE_GRAPH: {"pixels": reference_pixels(manifest.image.size)},
        TEXT_GRAPH: {"token_ids": token_ids, "lengths": lengths},
    }


def _remote(manifest: ModelManifest, settings: Settings, metrics: Metrics) -> Backend:
    from service.engine.triton.client import (  # gRPC is loaded only where it is used
        TritonBackend,
        TritonOptions,
    )

    options = TritonOptions(
        settings.triton_url,
        settings.triton_tls,
        settings.triton_ca_file,
        settings.triton_token.get_secret_value() if settings.triton_token else None,
        settings.deadline_seconds,
    )
    return TritonBackend(manifest, options, metrics)


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it: uvicorn's own handling ends the process by the signal, not by 0."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


def build_server(service: Service, settings: Settings) -> uvicorn.Server:
    """The HTTP server of the REST front; `serve()` runs it until `should_exit`."""
    return _Server(
        uvicorn.Config(
            service.app,
            host=settings.host,
            port=settings.port,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.max_connections,
            timeout_graceful_shutdown=settings.drain_seconds,
        )
    )


def _picked(settings: Settings, kind: type[T]) -> T:
    """A dataclass filled with the settings of the same names."""
    return kind(**{field.name: getattr(settings, field.name) for field in fields(kind)})  # type: ignore[arg-type]
