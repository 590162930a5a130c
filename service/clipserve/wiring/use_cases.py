"""Builds models and use cases, which REST and gRPC call, from settings, and closes what it opened."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clipserve.api.limits import RequestLimits
from clipserve.application.admission import Admission
from clipserve.application.charging import Charge
from clipserve.application.classifiers import LABEL_CACHE_BYTES, Classifiers
from clipserve.application.decoding.decoders import DECODE_SECONDS, Decoders, Start, in_thread
from clipserve.application.decoding.pool import DecoderProcesses
from clipserve.application.decoding.process import DecoderOptions
from clipserve.application.encoder import ImageEncoder, TextEncoder
from clipserve.application.fetched import FetchedImages
from clipserve.application.inference import Inference
from clipserve.application.label_sets.service import LabelSets
from clipserve.application.label_sets.store import STORE_SECONDS, Folder, Store
from clipserve.application.models import Models
from clipserve.application.served_model import ServedModel
from clipserve.clip.artifact import ArtifactError, verify_files
from clipserve.clip.images import ImageLimits
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.tokenizer import tokenizer_of
from clipserve.concurrency import in_own_thread, together
from clipserve.cores import usable_cores
from clipserve.engine.backend import Backend
from clipserve.fetching import FETCH_SECONDS
from clipserve.fetching.hosts import Host
from clipserve.settings import ModelSettings, Settings
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.backends import open_backend as open_chosen
from clipserve.wiring.model_names import Opened, opened

if TYPE_CHECKING:
    from clipserve.fetching.fetcher import Fetcher

OpenBackend = Callable[[Path, ModelManifest, ModelSettings, Metrics], Backend]


@dataclass(frozen=True)
class UseCases:
    """The models by folder, and the use cases. A model serves once it has started.

    `verified`: the end of the verification of each model's files.
    """

    models: dict[Path, ServedModel]
    verified: dict[Path, Future[None]]
    inference: Inference

    async def start_models(self) -> None:
        """Start all models concurrently.

        Raises:
            ArtifactError, BackendUnavailable, BackendFailed: a model cannot be served; the message says why.
        """
        await together(model.start(folder, self.verified[folder]) for folder, model in self.models.items())


@dataclass(frozen=True)
class Limits:
    """The limits of requests, label sets and images. `model_settings` may override those of single models."""

    requests: RequestLimits
    images: ImageLimits = field(default_factory=ImageLimits)
    decode_memory_bytes: int = 512_000_000  # of all images that are being decoded
    decode_seconds: float = DECODE_SECONDS
    fetch_seconds: float = FETCH_SECONDS
    label_cache_bytes: int = LABEL_CACHE_BYTES
    store_seconds: float = STORE_SECONDS

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits of the settings. More labels allow more text; two images of the largest size always fit."""
        max_pixels = max(each.max_pixels for each in settings.of_models)
        labels = settings.max_labels / RequestLimits.max_labels
        requests = settings.options(
            RequestLimits,
            max_request_pixels=max(RequestLimits.max_request_pixels, 2 * max_pixels),
            max_label_bytes=round(RequestLimits.max_label_bytes * max(1.0, labels)),
            max_prompts_chars=round(RequestLimits.max_prompts_chars * max(1.0, labels)),
        )
        return cls(requests)


@asynccontextmanager
async def open_use_cases(
    settings: Settings,
    metrics: Metrics,
    open_backend: OpenBackend | None = None,
    charge: Charge | None = None,
    limits: Limits | None = None,
    on_lost: Callable[[], object] = lambda: None,
) -> AsyncIterator[UseCases]:
    """Build the models and the use cases. The block's end stops everything that they started.

    `open_backend` replaces the backend of the settings. `charge`: see `Inference`. `on_lost`: see `InProcess`.

    Raises:
        ArtifactError: a folder of `settings.models` is not an artifact, or two hold models of one name.
        BackendUnavailable: the settings require CUDA, and there is no GPU, or no onnxruntime for it.
    """
    open_backend = open_backend or functools.partial(open_chosen, on_lost)
    limits = limits or Limits.of(settings)
    async with AsyncExitStack() as stack:
        artifacts = opened(settings.models)
        # In threads, while this one opens the backends and loads the code of REST and gRPC.
        verified = {
            each.folder: in_own_thread("verify", verify_files, each.folder, each.manifest)
            for each in artifacts
        }
        models = _models(settings, artifacts, limits, open_backend, stack, metrics)
        by_name = _by_name(models, artifacts, settings)
        label_sets = LabelSets(by_name, _store(settings, limits), limits.requests, metrics, charge)
        stack.push_async_callback(label_sets.aclose)
        fetched = FetchedImages(_fetcher(settings, metrics, limits.fetch_seconds), limits.requests.max_images)
        inference = Inference(by_name, label_sets, limits.requests, charge, fetched)
        yield UseCases(models, verified, inference)


def _models(
    settings: Settings,
    artifacts: Sequence[Opened],
    limits: Limits,
    open_backend: OpenBackend,
    stack: AsyncExitStack,
    metrics: Metrics,
) -> dict[Path, ServedModel]:
    """The models by folder, not started. They share the decoders."""
    places = settings.decode_threads or usable_cores()
    memory_bytes = limits.decode_memory_bytes
    start: Start = in_thread
    if settings.decode_processes:
        image_bytes = max(DecoderOptions.image_bytes, settings.max_body_bytes)
        options = DecoderOptions(memory_bytes, limits.decode_seconds, image_bytes)
        start = stack.enter_context(closing(DecoderProcesses(places, options, metrics))).start
    decoders = Decoders(start, places, memory_bytes, metrics)
    models: dict[Path, ServedModel] = {}
    for artifact in artifacts:
        chosen, folder, manifest = settings.of_model(artifact.name), artifact.folder, artifact.served
        backend = open_backend(folder, artifact.manifest, chosen, metrics)
        stack.push_async_callback(backend.aclose)
        image_limits, cache_bytes = chosen.image_limits(limits.images), chosen.image_cache_bytes
        images = ImageEncoder(manifest, backend, decoders, image_limits, metrics, cache_bytes)
        texts = TextEncoder(manifest, tokenizer_of(folder, manifest), backend, metrics)
        classifiers = Classifiers(texts, manifest.scoring, limits.label_cache_bytes, metrics)
        admission = Admission(chosen.max_queue_seconds, metrics)
        choices = image_limits.choices
        models[folder] = ServedModel(manifest, choices, backend, images, texts, classifiers, admission)
    return models


def _store(settings: Settings, limits: Limits) -> Store:
    if settings.label_set_store == "redis" and settings.redis_url:  # the settings have checked that it is set
        from clipserve.application.label_sets.redis_store import RedisStore  # loads Redis' client

        return RedisStore(settings.redis_url.get_secret_value(), seconds=limits.store_seconds)
    return Folder(settings.state_dir / "label-sets")


def _fetcher(settings: Settings, metrics: Metrics, seconds: float) -> Fetcher | None:
    if not settings.image_hosts:
        return None
    from clipserve.fetching.fetcher import Fetcher

    hosts = list(map(Host.parse, settings.image_hosts))
    return Fetcher(hosts, settings.max_body_bytes, metrics, seconds=seconds)


def _by_name(models: dict[Path, ServedModel], artifacts: Sequence[Opened], settings: Settings) -> Models:
    by_name = Models({model.name: model for model in models.values()})
    if strangers := settings.model_settings.keys() - by_name:
        raise ArtifactError(
            f"CLIPSERVE_MODEL_SETTINGS is about {', '.join(sorted(strangers))}, but what is served is "
            f"{', '.join(by_name)}."
        )
    by_name.aliases = {alias: each.name for each in artifacts for alias in each.aliases}
    return by_name
