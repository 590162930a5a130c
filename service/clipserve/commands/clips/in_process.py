"""CLIP in this process: what is behind the service's fronts, without a port."""

from __future__ import annotations

import asyncio
import functools
import math
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from clipserve.application.requests import ClassifyRequest
from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.commands.clips.clip import (
    OF_IMAGE,
    OF_TEXT,
    CannotGoOn,
    Classified,
    EmbeddedImage,
    Question,
    ServedBy,
    failure,
)
from clipserve.cores import usable_cores
from clipserve.engine.backend import Vector
from clipserve.engine.cuda import Accelerator
from clipserve.engine.in_process import InProcess
from clipserve.errors import ClipError, LabelSetNotReady
from clipserve.settings import ModelSettings, Settings
from clipserve.settings.engine import Calls
from clipserve.telemetry import log
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.backends import in_process, uses_gpu
from clipserve.wiring.model_names import NoSuchModel, find, provide
from clipserve.wiring.use_cases import OpenBackend, UseCases, open_use_cases

_LABEL_SET_SECONDS = 600.0  # to build one that is new for this model: a thousand labels by eighty templates
_LABEL_SET_AGAIN = 0.25
_TRITON_IN_FLIGHT = 128  # two of its batches
_MOST_IN_FLIGHT = 256  # each is a file in memory


@asynccontextmanager
async def clip_in_process(
    settings: Settings, model: str | None, *, exact: bool
) -> AsyncIterator[InProcessClip]:
    """The model of this name, else the first of the settings; started. `exact`: see `open_clip`.

    Raises:
        CannotGoOn: there is none of this name, or it cannot be served; the message says why.
    """
    log.configure("INFO", sys.stderr)  # for an export, which takes minutes
    try:
        own, accelerator = _of_one_model(settings, model), Accelerator()
        log.configure("ERROR", sys.stderr)  # what concerns one image is that image's error
        open_backend: OpenBackend | None = None
        on_gpu = await asyncio.to_thread(uses_gpu, own, accelerator)
        if unused := accelerator.unused:
            sys.stderr.write(f"The GPU is not used: {unused.found}. To use it: {unused.do}.\n")
        if exact and own.backend != "triton" and not on_gpu:  # these two need batches
            own, open_backend = _a_call_on_each_core(own), functools.partial(_one_row_a_call, accelerator)
        async with open_use_cases(own, Metrics(), open_backend, accelerator=accelerator) as use_cases:
            await use_cases.start_models()
            yield InProcessClip(use_cases, own, own.calls(on_gpu=on_gpu))
    except (ArtifactError, ClipError) as error:
        raise CannotGoOn(str(error)) from None


def _of_one_model(settings: Settings, name: str | None) -> Settings:
    """No other model is loaded, and nobody is refused: whoever asks is alone, and waits."""
    folder = provide(settings.models[0], settings) if name is None else _named(settings, name)
    own = {"models": (folder,), "model_settings": {}, "max_queue_seconds": math.inf}
    chosen = settings.of_model(read_manifest(folder).name)
    return chosen.model_copy(update=own)  # type: ignore[return-value] # a copy of Settings


def _named(settings: Settings, name: str) -> Path:
    """The folder of that model of the settings, or of any other by its name or folder."""
    known: dict[str, Path] = {}
    for model in reversed(settings.models):
        with suppress(NoSuchModel):  # one that would have to be exported, and is not asked for
            folder = find(model, settings)
            known[read_manifest(folder).name] = folder
    try:
        return known[name] if name in known else provide(Path(name), settings)
    except ArtifactError as error:
        raise CannotGoOn(
            f"{str(error).rstrip('.')}. CLIPSERVE_MODELS has {', '.join(reversed(known))}."
        ) from None


def _a_call_on_each_core(settings: Settings) -> Settings:
    """On CPUs as fast as any other arrangement (`make load` has it as a bare loop). What is named stays."""
    alone = {"workers": usable_cores(), "threads": 1, "spinning": False}
    return settings.model_copy(
        update={name: value for name, value in alone.items() if name not in settings.model_fields_set}
    )


def _one_row_a_call(
    accelerator: Accelerator, folder: Path, manifest: ModelManifest, settings: ModelSettings, _: Metrics
) -> InProcess:
    """No batcher: the last bits of a vector depend on how many rows are in its call, and none needs to wait."""
    return in_process(folder, manifest, settings, accelerator)


class InProcessClip:
    """A `Clip`."""

    def __init__(self, use_cases: UseCases, settings: Settings, calls: Calls) -> None:
        self._use_cases = use_cases
        (self._model,) = use_cases.models.values()
        # So many that a call waits while another runs, and that every decoder has its next image.
        batches = min(_MOST_IN_FLIGHT, 4 * calls.max_batch_images * calls.workers)
        self._in_flight = max(_TRITON_IN_FLIGHT if settings.backend == "triton" else 16, batches)

    @property
    def served_by(self) -> ServedBy:
        return ServedBy(self._model.name, self._model.fingerprint, self._model.manifest.embed_dim)

    @property
    def in_flight(self) -> int:
        return self._in_flight

    async def embed_image(self, image: bytes) -> EmbeddedImage:
        try:
            (header,) = await self._model.images.read_headers([image])
            if isinstance(header, ClipError):
                raise header
            return EmbeddedImage(await self._model.images.encode(image, header), header.size)
        except ClipError as error:
            raise failure(error.code, error.detail, OF_IMAGE) from None

    async def embed_text(self, text: str, *, truncate: bool) -> Vector:
        try:
            (encoded,) = await self._model.texts.encode([text], truncate=truncate)
        except ClipError as error:
            raise failure(error.code, error.detail, OF_TEXT) from None
        return encoded.vector

    async def classify(self, image: bytes, question: Question) -> Classified:
        sets = [] if question.label_set is None else [question.label_set]
        asked = ClassifyRequest(
            [image],
            question.labels,
            question.templates,
            label_sets=sets,
            scoring=question.scoring,
            top_k=question.top_k,
        )
        try:
            if sets:
                await self._built(sets)
            answer = await self._use_cases.inference.classify(asked)
        except ClipError as error:
            raise failure(error.code, error.detail, OF_IMAGE) from None
        (labels,) = answer.results[0]  # type: ignore[misc] # the error of the only image is raised
        return Classified([asdict(label) for label in labels], answer.warnings)

    async def _built(self, names: list[str]) -> None:
        """Until this label set can be used."""
        label_sets = self._use_cases.inference.label_sets
        if not label_sets.started:
            await label_sets.start()
        until = time.monotonic() + _LABEL_SET_SECONDS
        while True:
            try:
                label_sets.find(names)
                return
            except LabelSetNotReady:
                state = label_sets.get(names[0].partition("@")[0]).state
                if state == "failed" or time.monotonic() > until:
                    raise
                await asyncio.sleep(_LABEL_SET_AGAIN)
