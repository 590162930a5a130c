"""Wiring only: settings in, a gateway out. Everything that is opened here is closed here."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from service.access.gate import Gate, OpenGate
from service.access.key_watch import following
from service.access.keyed_gate import KeyedGate
from service.access.keys import Keys
from service.access.rates import RateOptions, Rates
from service.access.shared_windows import shared_windows
from service.access.windows import LocalWindows, Windows
from service.application.admission import Admission
from service.application.byte_budget import ByteBudget
from service.application.classifiers import Classifiers
from service.application.decoder_processes import DecoderProcesses
from service.application.decoding import DecodeLimits, Decoders
from service.application.encoder import DecodingImageEncoder, ImageEncoder, TextEncoder
from service.application.image_cache import CachedImageEncoder
from service.application.inference import Inference
from service.application.label_sets.catalog import Catalog
from service.application.label_sets.folder import Folder
from service.application.label_sets.label_sets import LabelSets
from service.application.label_sets.request import LabelSetLimits
from service.application.label_sets.sqlite_store import SqliteStore
from service.application.label_sets.store import Store
from service.application.limits import RequestLimits
from service.application.models import Models
from service.application.rows import Charge
from service.application.served_model import ServedModel
from service.application.stream import BulkPlaces
from service.backends import open_backend as open_chosen
from service.clip.artifact import ArtifactError, read_manifest
from service.clip.images import ImageLimits
from service.clip.manifest import ModelManifest
from service.clip.tokenizer import load_tokenizer
from service.concurrency import DaemonExecutor, SideThread
from service.cores import usable_cores, yield_to_event_loop
from service.engine.backend import Backend
from service.gateway import Gateway
from service.rest.app import build_app, with_cors
from service.rest.body import BodyLimits
from service.rest.bulk import Bulk, BulkLimits
from service.rest.connections import ConnectionLimits, Connections
from service.rest.exchange import ExchangeLimits
from service.rest.server import ServerOptions, build_server
from service.rest.uploads import Uploads
from service.settings import ModelSettings, Settings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import TracingOptions, tracing_to

if TYPE_CHECKING:  # it loads gRPC
    from service.rpc.server import RpcServer

# Before gRPC is loaded: it prints on standard error, past our log, what its errors tell too.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

T = TypeVar("T")
OpenBackend = Callable[[Path, ModelManifest, ModelSettings, Metrics], Backend]


@asynccontextmanager
async def open_gateway(settings: Settings, open_backend: OpenBackend | None = None) -> AsyncIterator[Gateway]:
    """Build all objects; on leaving, end all that they began.

    `open_backend` replaces the backend that the settings ask for.

    Raises:
        ArtifactError: a folder of `settings.models` is not an artifact, or two hold models of one name.
        BackendUnavailable: a backend is not installed.
        KeyFileError: the file of keys cannot be used.
        TracingUnavailable: traces are wanted, and OpenTelemetry is not installed.
    """
    metrics = Metrics()
    open_backend = open_backend or functools.partial(open_chosen, settings.deadline_seconds)
    async with AsyncExitStack() as stack:
        metrics.tracing = stack.enter_context(tracing_to(picked(settings, TracingOptions), metrics.spans))
        threads = settings.decode_threads or usable_cores()
        executor = stack.enter_context(DaemonExecutor(threads, "preprocess", yield_to_event_loop))
        side = SideThread(stack.enter_context(DaemonExecutor(1, "side")))
        decoders = _decoders(settings, threads, stack, metrics)
        models: dict[Path, ServedModel] = {}
        for folder in settings.models:
            manifest = read_manifest(folder)
            own = settings.of_model(manifest.name)
            backend = open_backend(folder, manifest, own, metrics)
            stack.push_async_callback(backend.aclose)
            models[folder] = _served_model(folder, manifest, own, backend, executor, side, decoders, metrics)
        keys, gate = await _keys_and_gate(settings, stack, metrics)
        charge = _rows_of(gate) if keys else None
        by_name = _by_name(models, settings)
        label_sets = _label_sets(settings, by_name, side, metrics)
        stack.push_async_callback(label_sets.aclose)
        inference = Inference(by_name, label_sets, picked(settings, RequestLimits), side, charge)
        limits = ExchangeLimits(picked(settings, BodyLimits), settings.deadline_seconds)
        budget = ByteBudget(settings.max_in_flight_bytes, settings.max_in_flight_bytes_per_address)
        uploads = Uploads(settings.max_json_bytes, side)
        places = BulkPlaces(settings.max_bulk_requests)
        bulk = Bulk(inference, picked(settings, BulkLimits), side, gate, places)
        app = build_app(
            inference, limits, uploads, side, budget, metrics, bulk, gate, settings.compat, settings.page
        )
        app = with_cors(app, settings.cors_origins)
        connections = Connections(picked(settings, ConnectionLimits))
        server = build_server(app, picked(settings, ServerOptions), connections, metrics)
        rpc = _rpc(settings, inference, side, budget, places, gate, metrics)
        yield Gateway(app, server, rpc, metrics, models, inference, connections, keys)


def _rpc(
    settings: Settings,
    inference: Inference,
    side: SideThread,
    budget: ByteBudget,
    bulk: BulkPlaces,
    gate: Gate,
    metrics: Metrics,
) -> RpcServer | None:
    if not settings.grpc_enabled:
        return None
    from service.rpc.build import build_rpc  # loads gRPC

    return build_rpc(inference, side, budget, bulk, gate, metrics, functools.partial(picked, settings))


async def _keys_and_gate(
    settings: Settings, stack: AsyncExitStack, metrics: Metrics
) -> tuple[Keys | None, Gate]:
    if settings.keys_file is None:
        return None, OpenGate()
    keys = await stack.enter_async_context(following(settings.keys_file))
    windows: Windows = LocalWindows()
    if settings.redis_url:
        shared = shared_windows(settings.redis_url.get_secret_value(), metrics)
        windows = await stack.enter_async_context(shared)
    return keys, KeyedGate(keys, Rates(picked(settings, RateOptions), windows))


def _rows_of(gate: Gate) -> Charge:
    async def charge(rows: int) -> None:
        await gate.charge(rows=rows)

    return charge


def _decoders(settings: Settings, threads: int, stack: AsyncExitStack, metrics: Metrics) -> Decoders:
    executor = stack.enter_context(DaemonExecutor(threads, "decode", yield_to_event_loop))
    memory_bytes, seconds = settings.decode_memory_bytes, settings.decode_timeout_seconds
    if not settings.decode_processes:
        return Decoders(executor, DecodeLimits(threads, memory_bytes, seconds), metrics)
    processes = stack.enter_context(closing(DecoderProcesses(threads, memory_bytes, seconds, metrics)))
    return Decoders(executor, DecodeLimits(threads, memory_bytes), metrics, processes.decode)


def _served_model(
    folder: Path,
    manifest: ModelManifest,
    settings: ModelSettings,
    backend: Backend,
    executor: Executor,
    side: SideThread,
    decoders: Decoders,
    metrics: Metrics,
) -> ServedModel:
    limits = picked(settings, ImageLimits)
    images: ImageEncoder = DecodingImageEncoder(manifest, backend, executor, decoders, limits, metrics)
    if settings.image_cache_bytes:
        images = CachedImageEncoder(images, settings.image_cache_bytes, executor, metrics)
    texts = TextEncoder(manifest, load_tokenizer(folder, manifest.text), backend, side, metrics)
    classifiers = Classifiers(texts, manifest.scoring, settings.label_cache_bytes, metrics)
    admission = Admission(settings.max_queue_seconds, metrics)
    return ServedModel(manifest, limits.choices, backend, images, texts, classifiers, admission)


def _label_sets(settings: Settings, models: Models, side: SideThread, metrics: Metrics) -> LabelSets:
    store = _store(settings)
    limits, own = picked(settings, RequestLimits), picked(settings, LabelSetLimits)
    path = settings.label_sets_folder
    folder = None if path is None else Folder(path, limits, own)
    catalog = Catalog(models, store, folder, metrics)
    return LabelSets(models, catalog, store, side, limits, own, metrics)


def _store(settings: Settings) -> Store:
    if settings.label_set_store == "redis" and settings.redis_url:  # the settings have seen that it is there
        from service.application.label_sets.redis_store import RedisStore  # loads Redis' client

        return RedisStore(settings.redis_url.get_secret_value())
    return SqliteStore(settings.state_dir)


def _by_name(models: dict[Path, ServedModel], settings: Settings) -> Models:
    by_name = Models({model.name: model for model in models.values()})
    if len(by_name) != len(settings.models):
        raise ArtifactError("two of the artifacts in CLIPSERVE_MODELS have the same name.")
    if strangers := settings.model_settings.keys() - by_name:
        raise ArtifactError(
            f"CLIPSERVE_MODEL_SETTINGS is about {', '.join(sorted(strangers))}, but what is served is "
            f"{', '.join(by_name)}."
        )
    return by_name


def picked(settings: BaseModel, kind: type[T]) -> T:
    """A dataclass filled with the settings of the same names."""
    return kind(**{field.name: getattr(settings, field.name) for field in fields(kind)})  # type: ignore[arg-type]
