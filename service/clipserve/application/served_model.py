"""One served model, with its encoders, classifiers and admission."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from clipserve.api.states import ModelInfo
from clipserve.application.admission import Admission
from clipserve.application.classifiers import Classifiers
from clipserve.application.encoder import ImageEncoder, TextEncoder
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, ArtifactError, verify_files
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.prompts import expand
from clipserve.clip.reference import REFERENCE_TEXTS, check, reference_pixels
from clipserve.clip.reference_inputs import check_inputs
from clipserve.clip.tokenizer import Tokenizer
from clipserve.concurrency import in_own_thread
from clipserve.engine.backend import Backend, Embeddings
from clipserve.errors import BackendUnavailable, BadPromptTemplate, ClipError, DeadlineExceeded, Overloaded
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import ServedModelInfo

_SELF_TEST_AGAIN_SECONDS = 0.5


class ServedModel:
    """A model that serves requests after `start`.

    Attributes:
        started: whether `start` has returned.
        fingerprint: see `ModelManifest.fingerprint`; final after `start`.
    """

    def __init__(
        self,
        manifest: ModelManifest,
        choices: Sequence[str],
        backend: Backend,
        images: ImageEncoder,
        texts: TextEncoder,
        classifiers: Classifiers,
        admission: Admission,
    ) -> None:
        """`choices`: settings that change vectors beyond the artifact; part of the fingerprint."""
        self.manifest, self.name = manifest, manifest.name
        self.images = images
        self.texts = texts
        self.classifiers = classifiers
        self.admission = admission
        self.started = False
        self.fingerprint = manifest.fingerprint(*choices)
        self._choices = choices
        self._backend = backend

    @property
    def info(self) -> ServedModelInfo:
        """The labels of the metric `clipserve_model_info`; final after `start`."""
        precision = self._backend.precision or self.manifest.precision
        return ServedModelInfo(self.name, self.fingerprint, self._backend.engine, precision)

    async def ready(self) -> bool:
        """Whether the model would serve a request made now."""
        return self.started and await self._backend.ready()

    async def state(self) -> ModelInfo:
        """What is answered about the model now."""
        manifest = self.manifest
        return ModelInfo(
            id=manifest.name,
            object="model",
            ready=await self.ready(),
            fingerprint=self.fingerprint,
            embed_dim=manifest.embed_dim,
            image_size=manifest.image.size,
            context_length=manifest.text.context_length,
            scoring=manifest.scoring.function,
            logit_scale=manifest.scoring.logit_scale,
            logit_bias=manifest.scoring.logit_bias,
            prompt_templates=[*manifest.prompt_templates],
            precision=manifest.precision,
            checkpoint=manifest.source.checkpoint,
            licence=manifest.source.licence,
            random_weights=manifest.source.random_weights,
        )

    async def start(self, folder: Path, verified: Future[None] | None = None) -> None:
        """Verify the files in `folder`, load the backend, and run the self-test.

        `verified`: the end of a verification that has begun; None: it begins here.

        Raises:
            ArtifactError: a file is damaged, a template has no slot or is a duplicate, or pixels, tokens or vectors
                differ from those in the artifact.
            BackendUnavailable: the engine can never be loaded.
            BackendFailed: it fails on the reference inputs.
        """
        began = time.monotonic()
        try:
            expand(self.manifest.prompt_templates)
        except BadPromptTemplate as error:
            raise ArtifactError(f"prompt_templates of {self.name}: {error.detail}") from None
        verified = verified or in_own_thread("verify", verify_files, folder, self.manifest)
        await asyncio.wrap_future(verified)
        await asyncio.to_thread(check_inputs, self.manifest, self.texts.tokenizer)
        await self._backend.start()
        precision = self._backend.precision  # an engine may compute in a lower precision than the artifact's
        self.fingerprint = self.manifest.fingerprint(*self._choices, precision=precision)
        images, texts = await self._reference_embeddings()
        cosine = check(self.manifest, images, texts, precision)
        seconds_per_call = await self._teach_admission()
        self.started = True
        logger.info(
            "model_ready",
            model=self.name,
            fingerprint=self.fingerprint,
            engine=self._backend.engine,
            precision=precision or self.manifest.precision,
            ms_per_call=round(1000 * seconds_per_call, 1),
            self_test_cosine=round(cosine, 6),
            seconds=round(time.monotonic() - began, 2),
        )

    async def aclose(self) -> None:
        """Stop the backend."""
        await self._backend.aclose()

    async def _teach_admission(self) -> float:
        """What a row costs about: the first requests are judged too. The self-test has warmed up for this.

        Returns:
            seconds of a call of the reference images; NaN: it failed.
        """
        images = reference_pixels(self.manifest.image.size)
        seconds = math.nan
        with suppress(ClipError):  # the start does not depend on it
            began = time.monotonic()
            await self._backend.encode_image(images)
            between = time.monotonic()
            seconds = between - began
            await self.texts.encode(REFERENCE_TEXTS, truncate=True)
            self.admission.learn_at_start("image", len(images), seconds)
            self.admission.learn_at_start("text", len(REFERENCE_TEXTS), time.monotonic() - between)
        return seconds

    async def _reference_embeddings(self) -> tuple[Embeddings, Embeddings]:
        """[2, D] and [3, D]. A backend that goes away, or is full, says nothing about itself: it is asked again."""
        while True:
            try:
                images = await self._backend.encode_image(reference_pixels(self.manifest.image.size))
                texts = await self.texts.encode(REFERENCE_TEXTS, truncate=True)
            except (BackendUnavailable, DeadlineExceeded, Overloaded) as error:
                logger.warning("self_test_postponed", model=self.name, reason=error.detail)
                await asyncio.sleep(_SELF_TEST_AGAIN_SECONDS)
            else:
                return images, np.stack([text.vector for text in texts])


def reference_feeds(manifest: ModelManifest, tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """Graph -> its inputs for the images and texts of `clipserve.clip.reference`; texts have one padded length."""
    rows = tokenizer.encode(REFERENCE_TEXTS, truncate=True)
    length = manifest.text.padded_length(max(len(row.ids) for row in rows))
    token_ids, lengths = tokenizer.pad(rows, length)
    return {
        IMAGE_GRAPH: {"pixels": reference_pixels(manifest.image.size)},
        TEXT_GRAPH: {"token_ids": token_ids, "lengths": lengths},
    }
