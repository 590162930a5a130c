"""CLIP in this process: the service's use cases without REST and gRPC."""

from __future__ import annotations

import math
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipserve.api.answers import ImageLabels
from clipserve.api.requests import ClassifyRequest
from clipserve.application.label_sets.service import LabelSets
from clipserve.client.blocking import Blocking
from clipserve.client.errors import OF_IMAGE, OF_TEXT, ClipserveError, of_item, refusal
from clipserve.client.methods import AsyncMethods
from clipserve.client.results import Embedded, Labelled, ServedBy
from clipserve.clip.artifact import ArtifactError
from clipserve.cores import usable_cores
from clipserve.engine.calls import Calls
from clipserve.engine.cuda import gpus, why_not
from clipserve.errors import ClipError
from clipserve.settings import Settings, as_model, read_settings
from clipserve.telemetry.metrics import Metrics
from clipserve.wiring.backends import in_process, uses_gpu
from clipserve.wiring.model_names import NoSuchModel, find, opened, provide
from clipserve.wiring.use_cases import OpenBackend, UseCases, open_use_cases

_MOST_IN_FLIGHT = 256  # each is a file in memory
_ROWS_AHEAD = 4  # images in flight for each core, in place of the rows of a call, which has one


class Clip(Blocking):
    """A model in this process, without a server. It needs an engine: `pip install clipserve`.

    The same image gives the same bits on the same machine, whichever images share its call. Threads may share it.
    """

    def __init__(self, model: str | Path | None = None, **settings: Any) -> None:
        """Load the model, which takes a second or more.

        Args:
            model: a folder with an artifact, or a name in CLIPSERVE_MODELS. None: the first model of
                CLIPSERVE_MODELS, by default the demo model.
            settings: any of docs/settings.md, without CLIPSERVE_: `backend="onnx"`. The environment gives the
                others. Threads of this process decode images, unless `decode_processes=True`. On a CPU `threads`
                is the number of cores that compute, each with a call of its own; 0: all.

        Raises:
            ClipserveError: the model or the engine does not exist, or the self-test fails.
            ValueError: a setting is invalid.
        """
        super().__init__(open_in_process(read_settings(**{"decode_processes": False, **settings}), model))


@asynccontextmanager
async def open_in_process(
    settings: Settings,
    model: str | Path | None,
    *,
    warn: Callable[[str], object] = warnings.warn,
    when_found: Callable[[], object] = lambda: None,
) -> AsyncIterator[MethodsInProcess]:
    """Start the model of this name or in this folder; None: the first of the settings.

    On CPUs the same item gives the same bits, whichever items share its call. `when_found` is called when the model
    exists, whose export may take minutes, and before it is loaded.

    Raises:
        ClipserveError: the model does not exist, or cannot be served; the message says why.
    """
    try:
        chosen = _of_one_model(settings, model)
        when_found()
        on_gpu = uses_gpu(chosen)
        calls = chosen.calls(on_gpu=on_gpu)
        if chosen.device == "auto" and gpus() and (unused := why_not()):
            warn(f"The GPU is not used: {unused}.")
        is_here = chosen.backend_kind.in_process and not on_gpu  # the others need batches
        if is_here:
            # A call on each core is as fast as any other arrangement (`make load` has it as a bare loop).
            cores = chosen.threads or usable_cores()
            calls = replace(calls, threads=1, workers=cores, max_batch_images=_ROWS_AHEAD)
        # No batcher: the last bits of a vector depend on how many rows are in its call, and none needs to wait.
        by_row: OpenBackend | None = (
            (lambda folder, manifest, own, _: in_process(folder, manifest, own, calls, on_gpu=False))
            if is_here
            else None
        )
        async with open_use_cases(chosen, Metrics(), by_row) as use_cases:
            await use_cases.start_models()
            yield MethodsInProcess(use_cases, chosen, calls)
    except ArtifactError as error:
        raise ClipserveError(str(error)) from error
    except ClipError as error:
        raise ClipserveError(error.detail, error.code) from error


def _of_one_model(settings: Settings, model: str | Path | None) -> Settings:
    """No other model is loaded, and nobody is refused: whoever asks is alone, and waits."""
    folder = _folder(settings, model)
    alone = {"models": (folder,), "model_settings": {}, "max_queue_seconds": math.inf}
    (artifact,) = opened([folder])
    return settings.of_model(artifact.name).model_copy(update=alone)  # type: ignore[return-value] # of Settings


def _folder(settings: Settings, model: str | Path | None) -> Path:
    """Of a model by its name or folder; None: the first of the settings."""
    if model is None:
        return provide(settings.models[0], settings)
    for named in settings.models:
        with suppress(NoSuchModel):  # a model that would have to be exported, but is not used
            folder = find(named, settings)
            if opened([folder])[0].name == str(model):
                return folder
    return provide(as_model(str(model)), settings)


class MethodsInProcess(AsyncMethods):
    """The methods of one started model."""

    def __init__(self, use_cases: UseCases, settings: Settings, calls: Calls) -> None:
        self._inference = use_cases.inference
        (self._model,) = use_cases.models.values()
        # Enough that a call waits while another runs, and that every decoder has its next image.
        batches = min(_MOST_IN_FLIGHT, 4 * calls.max_batch_images * calls.workers)
        self.in_flight = max(settings.backend_kind.rows_in_flight, batches)

    async def served_by(self) -> ServedBy:
        model, of = self._model, self._model.manifest
        return ServedBy(
            model.name, model.fingerprint, of.embed_dim, of.scoring.logit_scale, of.scoring.logit_bias
        )

    async def label_sets(self) -> list[str]:
        with _refusing():
            return [label_set.name for label_set in (await self._label_sets()).all()]

    async def embed_image(self, image: bytes) -> Embedded:
        with _refusing(OF_IMAGE):
            return Embedded((await self._model.images.encode(image)).vector, self._model.fingerprint)

    async def embed_text(self, text: str, *, truncate: bool) -> Embedded:
        with _refusing(OF_TEXT):
            (encoded,) = await self._model.texts.encode([text], truncate=truncate)
        return Embedded(encoded.vector, self._model.fingerprint)

    async def classify_image(self, image: bytes, request: ClassifyRequest) -> Labelled:
        with _refusing(OF_IMAGE):
            if request.label_sets:
                await (await self._label_sets()).find(request.label_sets)  # until it is built
            asked = replace(request, images=[image]).check(self._inference.limits)
            answer = await self._inference.classify(asked)
        (result,) = answer.results
        assert isinstance(result, ImageLabels)  # the error of the only image is raised
        return Labelled(result.labels, answer.fingerprint, answer.warnings)

    async def _label_sets(self) -> LabelSets:
        label_sets = self._inference.label_sets
        if not label_sets.started:
            await label_sets.start()
        return label_sets


@contextmanager
def _refusing(item_codes: frozenset[str] | None = None) -> Iterator[None]:
    """Raise the service's errors as those of the Python API. `item_codes`: see `of_item`; None: of a whole call."""
    try:
        yield
    except ClipError as error:
        refused = refusal(error.code, error.detail)
        raise (refused if item_codes is None else of_item(refused, item_codes)) from None
