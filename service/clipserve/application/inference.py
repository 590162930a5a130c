"""The use cases, which REST and gRPC call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from clipserve.api.answers import (
    Classification,
    Embeddings,
    ItemSimilarities,
    Similarities,
    TextTokens,
    Tokenization,
    UsedLabelSet,
)
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.api.states import ModelInfo
from clipserve.application.charging import Charge, RequestEncoder
from clipserve.application.classifiers import Prompting
from clipserve.application.encoder import EncodedText, VectorOrError
from clipserve.application.encodings import encoded
from clipserve.application.fetched import FetchedImages
from clipserve.application.label_sets.service import LabelSets
from clipserve.application.models import Models
from clipserve.application.ranking import Classified, Ranking, ranked, warnings_of
from clipserve.application.requests import check_dimensions, expanded_templates
from clipserve.application.served_model import ServedModel
from clipserve.clip.manifest import ScoringSpec
from clipserve.clip.zeroshot import logits
from clipserve.concurrency import beside_loop
from clipserve.errors import ClipError, PermissionDenied, Unauthenticated

_SCORE_BYTES = 4  # to rank; or of a token to spell
_VECTOR_BYTES = 128  # to encode


class Inference:
    """Admits, runs and answers checked requests. A request without a model's name is for the first model."""

    def __init__(
        self,
        models: Models,
        label_sets: LabelSets,
        limits: RequestLimits,
        charge: Charge | None = None,
        fetched: FetchedImages | None = None,
    ) -> None:
        """`charge`: takes rows from the rate of the caller's key; raises RateLimited."""
        self._models = models
        self.label_sets = label_sets
        self.limits = limits
        self._rows = RequestEncoder(limits, charge, fetched or FetchedImages())
        self.draining = False  # shutting down: not ready, but still serving new requests

    @property
    def names(self) -> list[str]:
        """The names of the served models. The first is the default."""
        return list(self._models)

    async def classify(self, request: ClassifyRequest) -> Classification:
        """Score each image against all labels.

        Raises:
            InvalidInput: templates exceed a limit, a prompt has too many tokens, or every image is bad.
            UnknownModel, WrongFingerprint, RateLimited, Overloaded, BackendUnavailable, BackendFailed: see
                `clipserve.errors`.
        """
        if request.label_sets:
            return await self._classify_by_sets(request)
        model = self._models.find(request)
        labels = (*request.labels, *request.background)
        templates = expanded_templates(request.templates, labels, model.manifest, self.limits)
        prompting = Prompting(templates, request.truncate)
        missing = model.classifiers.missing(labels, prompting)
        vectors, built = await self._rows.encode(
            model, request.images, missing, partial(model.classifiers.get, labels, prompting)
        )
        answer = await _ranked(model, [(built.classifier, Ranking.of(request))], vectors)
        answer.truncated_labels = built.truncated
        return answer

    async def _classify_by_sets(self, request: ClassifyRequest) -> Classification:
        if request.model is not None:  # label sets have the name that an alias stands for
            request = replace(request, model=self._models.own_name(request.model))
        sets = await self.label_sets.find(request.label_sets)
        model = self._models.find(request.of_models([each.definition.model for each in sets]))
        classified = [(each.classifier, each.ranking(request)) for each in sets]
        images, _ = await self._rows.encode(model, request.images, 0, partial(model.texts.encode, ()))
        answer = await _ranked(model, classified, images, [each.name for each in sets])
        answer.label_sets = tuple(UsedLabelSet(each.name, each.version) for each in sets)
        return answer

    async def embed(
        self, request: EmbedRequest, *, all_or_nothing: bool = False, dimensions: int | None = None
    ) -> Embeddings:
        """The vector of each image and of each text.

        `all_or_nothing`: the error of one image fails the request. `dimensions`: the number that the caller
        expects; None: any.

        Raises:
            InvalidInput: a text has too many tokens and `truncate` is false, `dimensions` is not the model's, the
                images have too many pixels, or every item is a bad image.
            UnknownModel, WrongFingerprint, RateLimited, Overloaded, BackendUnavailable, BackendFailed: see
                `clipserve.errors`.
        """
        model = self._models.find(request)
        if dimensions is not None:
            check_dimensions(dimensions, model.manifest)
        encode_texts = partial(model.texts.encode, request.texts, truncate=request.truncate)
        images, texts = await self._rows.encode(model, request.images, len(request.texts), encode_texts)
        if all_or_nothing:
            _raise_first_error(images)
        if not texts:
            _raise_error_of_all(images)
        return await _encoded(model, images, texts, request)

    async def similarity(self, request: SimilarityRequest) -> Similarities:
        """The similarities of each item to each of those that it is compared with.

        Raises:
            InvalidInput: a text has too many tokens and `truncate` is false, the images have too many pixels, every
                item is a bad image, or one of `to_images` is bad. Its index counts all images of the request.
            UnknownModel, WrongFingerprint, RateLimited, Overloaded, BackendUnavailable, BackendFailed: see
                `clipserve.errors`.
        """
        model = self._models.find(request)
        all_images, all_texts = [*request.images, *request.to_images], [*request.texts, *request.to_texts]
        encode_texts = partial(model.texts.encode, all_texts, truncate=request.truncate)
        images, texts = await self._rows.encode(model, all_images, len(all_texts), encode_texts)
        own, others = images[: len(request.images)], images[len(request.images) :]
        own += [text.vector for text in texts[: len(request.texts)]]
        others += [text.vector for text in texts[len(request.texts) :]]
        _raise_first_error(others)
        _raise_error_of_all(own)
        size = _SCORE_BYTES * len(own) * len(others)
        results = await beside_loop(partial(_compared, own, others, model.manifest.scoring), size)
        return Similarities(model.name, model.fingerprint, results)

    async def embed_item(self, request: EmbedRequest) -> Embeddings | ClipError:
        """The vector of one item of a bulk request, or its error. `request` has one image or one text.

        It checks the request.

        Raises:
            Unauthenticated, PermissionDenied: the key was removed meanwhile.
        """
        try:
            request.check(self.limits)
            return await self.embed(request)
        except (Unauthenticated, PermissionDenied):
            raise
        except ClipError as error:
            return error.with_traceback(None)

    async def tokenize(self, request: TokenizeRequest) -> Tokenization:
        """The tokens of each text as the encoder gets them.

        Raises:
            InvalidInput: a text is not valid Unicode.
            UnknownModel, WrongFingerprint, BackendUnavailable: see `clipserve.errors`.
        """
        model = self._models.find(request)
        rows = await model.texts.tokenize(request.texts, truncate=True)
        size = _SCORE_BYTES * sum(len(row.ids) for row in rows)
        pieces = model.texts.tokenizer.pieces
        results = await beside_loop(
            lambda: [TextTokens(row.ids, pieces(row.ids), row.tokens, row.truncated) for row in rows], size
        )
        return Tokenization(model.name, model.fingerprint, model.manifest.text.context_length, results)

    async def models(self) -> list[ModelInfo]:
        """Each served model, and whether it is ready now."""
        return [await model.state() for model in self._models.values()]

    async def ready(self) -> bool:
        """Whether all models and the label sets would serve a request now."""
        if self.draining or not self.label_sets.started:
            return False
        return all([await model.ready() for model in self._models.values()])


async def _encoded(
    model: ServedModel, images: Sequence[VectorOrError], texts: Sequence[EncodedText], request: EmbedRequest
) -> Embeddings:
    size = _VECTOR_BYTES * (len(images) + len(texts))
    results = await beside_loop(partial(encoded, images, texts, request.embedding_type), size)
    return Embeddings(model.name, model.fingerprint, results)


async def _ranked(
    model: ServedModel, classified: Classified, vectors: Sequence[VectorOrError], names: Sequence[str] = ()
) -> Classification:
    """`names`: of the label sets."""
    _raise_error_of_all(vectors)
    size = _SCORE_BYTES * len(vectors) * sum(len(classifier.labels) for classifier, _ in classified)
    results = await beside_loop(partial(ranked, classified, vectors, names), size)
    return Classification(model.name, model.fingerprint, results, warnings=warnings_of(classified))


def _compared(
    items: Sequence[VectorOrError], others: Sequence[VectorOrError], scoring: ScoringSpec
) -> list[ItemSimilarities | ClipError]:
    """The similarities of each item to `others`, which has no errors; or the item's error."""
    matrix = np.stack([other for other in others if not isinstance(other, ClipError)])  # [M, D]
    cosines = (item if isinstance(item, ClipError) else matrix @ item for item in items)  # [M]
    return [
        cosine if isinstance(cosine, ClipError) else ItemSimilarities(cosine, logits(cosine, scoring))
        for cosine in cosines
    ]


def _raise_error_of_all(results: Sequence[VectorOrError]) -> None:
    """The error of one item is a result among others; where there are no others, the request has failed."""
    if all(isinstance(result, ClipError) for result in results):
        _raise_first_error(results)


def _raise_first_error(results: Sequence[VectorOrError]) -> None:
    for result in results:
        if isinstance(result, ClipError):
            raise result
