"""The use cases. Every front calls these, and nothing below knows which front called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from service.application.admission import Ticket
from service.application.classifiers import Prompting
from service.application.encoder import ImageInput, VectorOrError, encode_images
from service.application.requests import (
    Classification,
    ClassifyRequest,
    Embedding,
    EmbedRequest,
    ModelState,
    RankedLabels,
    RequestLimits,
    ScoredLabel,
    check_pixels,
)
from service.application.served_model import ServedModel
from service.clip.images import ImageHeader
from service.clip.zeroshot import ZeroShotClassifier
from service.concurrency import SideThread, both
from service.errors import BackendUnavailable, ClipError, UnknownModel

_SHORT = 1_000  # scores that are ranked in a quarter of a millisecond
# Decoding an image of the first size takes about as long as encoding it does; a large one is several times that.
_ROW_BYTES, _LARGE_BYTES = 20_000_000, 80_000_000


class Inference:
    """Checks, admits, runs and answers. Models are found by name; without one, the first is meant."""

    def __init__(self, models: Mapping[str, ServedModel], limits: RequestLimits, side: SideThread) -> None:
        self._models = models
        self.limits = limits
        self._side = side
        self.draining = False  # the end is near: not ready, though it serves what still comes

    @property
    def names(self) -> list[str]:
        """Of the models served, the first being the one meant where none is named."""
        return list(self._models)

    async def classify(self, request: ClassifyRequest) -> Classification:
        """Score each image against all labels.

        Raises:
            InvalidInput: nothing to do, over a limit, a prompt of too many tokens, or every image is bad.
            UnknownModel, Overloaded, BackendUnavailable, BackendFailed: see `service.errors`.
        """
        model = self._find(request.model)
        request.check(self.limits)
        labels = tuple(request.labels)
        templates = request.expanded_templates(model.manifest, self.limits)
        prompting = Prompting(templates, request.truncate)
        missing = model.classifiers.missing(labels, prompting)
        with model.admission.admit(len(request.images), missing) as ticket:
            headers = await self._read_headers(model, request.images, ticket)
            vectors, built = await both(
                encode_images(model.images, request.images, headers),
                model.classifiers.get(labels, prompting),
            )
        _raise_error_of_all(vectors)
        results = await self._side.call(
            _ranked,
            built.classifier,
            vectors,
            request.top_k,
            short=len(vectors) * len(labels) <= _SHORT,
        )
        return Classification(model.name, model.fingerprint, results, built.truncated)

    async def embed(self, request: EmbedRequest) -> Embedding:
        """The vector of each image and of each text.

        Raises:
            InvalidInput: nothing to do, over a limit, a text of too many tokens unless `truncate`, or every item
                is a bad image.
            UnknownModel, Overloaded, BackendUnavailable, BackendFailed: see `service.errors`.
        """
        model = self._find(request.model)
        request.check(self.limits)
        with model.admission.admit(len(request.images), len(request.texts)) as ticket:
            headers = await self._read_headers(model, request.images, ticket)
            images, texts = await both(
                encode_images(model.images, request.images, headers),
                model.texts.encode(request.texts, truncate=request.truncate),
            )
        if request.all_or_nothing:
            _raise_first_error(images)
        if not texts:
            _raise_error_of_all(images)
        return Embedding(model.name, model.fingerprint, images, texts)

    async def models(self) -> list[ModelState]:
        """Each model served, as it is now."""
        return [
            ModelState(model.manifest, model.fingerprint, await model.ready())
            for model in self._models.values()
        ]

    async def ready(self) -> bool:
        """Whether every model would serve a request made now."""
        return not self.draining and all([await model.ready() for model in self._models.values()])

    async def _read_headers(
        self, model: ServedModel, images: Sequence[ImageInput], ticket: Ticket
    ) -> list[ImageHeader | ClipError]:
        """What the images are, before anything is decoded.

        Raises:
            TooMany: they have too many pixels together.
            Overloaded: they are large, and too many such images are ahead.
        """
        headers = await model.images.read_headers(images)
        check_pixels(headers, self.limits)
        if any(isinstance(header, ImageHeader) and header.decode_bytes > _LARGE_BYTES for header in headers):
            sizes = [header.decode_bytes if isinstance(header, ImageHeader) else 0 for header in headers]
            ticket.are_large(sum(1 + size // _ROW_BYTES for size in sizes))
        return headers

    def _find(self, name: str | None) -> ServedModel:
        model = next(iter(self._models.values())) if name is None else self._models.get(name)
        if model is None:
            raise UnknownModel(f"no such model is served. Served: {', '.join(self._models)}.")
        if not model.started:
            raise BackendUnavailable("the model is still loading. Try again when the service is ready.")
        return model


def _raise_error_of_all(results: Sequence[VectorOrError]) -> None:
    """The error of one item is a result among others; where there are no others, the request has failed."""
    if all(isinstance(result, ClipError) for result in results):
        _raise_first_error(results)


def _raise_first_error(results: Sequence[VectorOrError]) -> None:
    for result in results:
        if isinstance(result, ClipError):
            raise result


def _ranked(
    classifier: ZeroShotClassifier, vectors: Sequence[VectorOrError], top_k: int | None
) -> list[Sequence[ScoredLabel] | ClipError]:
    return [
        vector
        if isinstance(vector, ClipError)
        else RankedLabels(classifier.labels, classifier.scores(vector[np.newaxis]), top_k)
        for vector in vectors
    ]
