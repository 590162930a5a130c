"""The door: every front calls these use cases, and nothing below knows which front called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.application.admission import Admission
from service.application.classifiers import Classifiers, Prompting
from service.application.encoder import DualEncoder, EncodedText, Image
from service.clip.manifest import ModelManifest
from service.clip.prompts import expand
from service.clip.zeroshot import ZeroShotClassifier
from service.concurrency import both
from service.engine.backend import Vector
from service.errors import (
    BackendUnavailable,
    ClipError,
    InvalidInput,
    TextTooLong,
    TooMany,
    UnknownModel,
)


@dataclass(frozen=True)
class RequestLimits:
    """What one request may hold. `max_label_chars` is of one label, `max_label_bytes` of all together."""

    max_images: int = 32
    max_texts: int = 256
    max_text_chars: int = 8_192
    max_labels: int = 1_000
    max_label_chars: int = 512
    max_label_bytes: int = 65_536
    max_templates: int = 100


@dataclass(frozen=True)
class ClassifyRequest:
    """Images and labels. No templates: the model's own. No top_k: all labels."""

    images: Sequence[Image]
    labels: Sequence[str]
    templates: Sequence[str] = ()
    model: str | None = None
    top_k: int | None = None
    truncate: bool = False


@dataclass(frozen=True)
class ScoredLabel:
    label: str
    score: float
    cosine: float
    logit: float


@dataclass(frozen=True)
class Classification:
    """For each image its labels, best first, or its error."""

    model: str
    fingerprint: str
    results: list[list[ScoredLabel] | ClipError]
    truncated_labels: tuple[str, ...]


@dataclass(frozen=True)
class EmbedRequest:
    images: Sequence[Image] = ()
    texts: Sequence[str] = ()
    model: str | None = None
    truncate: bool = False


@dataclass(frozen=True)
class Embedding:
    """For each image its vector or its error, then for each text its vector."""

    model: str
    fingerprint: str
    images: list[Vector | ClipError]
    texts: list[EncodedText]


@dataclass(frozen=True)
class ModelState:
    manifest: ModelManifest
    fingerprint: str
    ready: bool


@dataclass
class ServedModel:
    """A model behind the door. `warm` is set once its engine has passed the self-test."""

    encoder: DualEncoder
    classifiers: Classifiers
    admission: Admission
    warm: bool = False

    @property
    def name(self) -> str:
        return self.encoder.manifest.name

    async def ready(self) -> bool:
        return self.warm and await self.encoder.ready()


class InferenceService:
    """Admits, runs and answers. Models are found by name; without one, the first is meant."""

    def __init__(self, models: Mapping[str, ServedModel], limits: RequestLimits) -> None:
        self._models = models
        self._limits = limits

    @property
    def limits(self) -> RequestLimits:
        """What one request may hold."""
        return self._limits

    @property
    def names(self) -> list[str]:
        """Of the models served, the first being the one meant where none is named."""
        return list(self._models)

    async def classify(self, request: ClassifyRequest) -> Classification:
        """Score each image against all labels.

        Raises:
            InvalidInput: nothing to do, or over a limit; a prompt of too many tokens.
            UnknownModel, Overloaded, BackendUnavailable, BackendFailed: see `service.errors`.
        """
        model = self._find(request.model)
        labels, prompting = self._checked(request, model)
        with model.admission.admit(len(request.images), model.classifiers.missing(labels, prompting)):
            vectors, built = await both(
                model.encoder.encode_images(request.images), model.classifiers.get(labels, prompting)
            )
        results = [_ranked(built.classifier, vector, request.top_k) for vector in vectors]
        return Classification(model.name, model.encoder.fingerprint, results, built.truncated)

    async def embed(self, request: EmbedRequest) -> Embedding:
        """The vector of each image and of each text.

        Raises:
            InvalidInput: nothing to do, or over a limit; a text of too many tokens, unless `truncate`.
            UnknownModel, Overloaded, BackendUnavailable, BackendFailed: see `service.errors`.
        """
        model = self._find(request.model)
        if not request.images and not request.texts:
            raise InvalidInput("there is nothing to embed: send at least one image or text.")
        _at_most("images", len(request.images), self._limits.max_images)
        _at_most("texts", len(request.texts), self._limits.max_texts)
        _each_at_most("text", request.texts, self._limits.max_text_chars)
        with model.admission.admit(len(request.images), len(request.texts)):
            images, texts = await both(
                model.encoder.encode_images(request.images),
                model.encoder.encode_texts(request.texts, truncate=request.truncate),
            )
        return Embedding(model.name, model.encoder.fingerprint, images, texts)

    async def models(self) -> list[ModelState]:
        """Each model served, as it is now."""
        return [
            ModelState(model.encoder.manifest, model.encoder.fingerprint, await model.ready())
            for model in self._models.values()
        ]

    async def ready(self) -> bool:
        """Whether every model would serve a request made now."""
        return all([await model.ready() for model in self._models.values()])

    def _find(self, name: str | None) -> ServedModel:
        model = next(iter(self._models.values())) if name is None else self._models.get(name)
        if model is None:
            raise UnknownModel(f"no such model is served. Served: {', '.join(self._models)}.")
        if not model.warm:
            raise BackendUnavailable("the model is still loading; /readyz tells when it is ready.")
        return model

    def _checked(self, request: ClassifyRequest, model: ServedModel) -> tuple[tuple[str, ...], Prompting]:
        labels, limits = tuple(request.labels), self._limits
        if not request.images:
            raise InvalidInput("there is nothing to classify: send at least one image.")
        if not labels:
            raise InvalidInput("there is nothing to choose from: send at least one label.")
        if request.top_k is not None and request.top_k < 1:
            raise InvalidInput("top_k must be at least 1.", limit=1, actual=request.top_k)
        _at_most("images", len(request.images), limits.max_images)
        _at_most("labels", len(labels), limits.max_labels)
        _at_most(
            "bytes of labels", sum(len(k.encode("utf-8", "replace")) for k in labels), limits.max_label_bytes
        )
        _each_at_most("label", labels, limits.max_label_chars)
        _distinct(labels)
        templates = expand(request.templates) or tuple(model.encoder.manifest.prompt_templates)
        _at_most("templates", len(templates), limits.max_templates)
        _each_at_most("template", templates, limits.max_label_chars)
        return labels, Prompting(templates, request.truncate)


def _at_most(what: str, actual: int, limit: int) -> None:
    if actual > limit:
        raise TooMany(
            f"the request has {actual:,} {what}; the limit is {limit:,}.", limit=limit, actual=actual
        )


def _each_at_most(what: str, texts: Sequence[str], limit: int) -> None:
    for index, text in enumerate(texts):
        if len(text) > limit:
            raise TextTooLong(
                f"{what} {index} has {len(text):,} characters; the limit is {limit:,}.",
                limit=limit,
                actual=len(text),
                index=index,
            )


def _distinct(labels: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for index, label in enumerate(labels):
        if not label.strip():
            raise InvalidInput(f"label {index} is empty.", index=index)
        if label in first:
            # Under softmax two equal labels would halve each other's score.
            raise InvalidInput(f"label {index} is the same as label {first[label]}.", index=index)
        first[label] = index


def _ranked(
    classifier: ZeroShotClassifier, vector: Vector | ClipError, top_k: int | None
) -> list[ScoredLabel] | ClipError:
    if isinstance(vector, ClipError):
        return vector
    scores = classifier.scores(vector[np.newaxis])  # each [1, K]
    # By logit: softmax rounds distinct logits to equal scores.
    best = np.argsort(-scores.logit[0], kind="stable")[:top_k]
    return [
        ScoredLabel(
            classifier.labels[k],
            float(scores.score[0, k]),
            float(scores.cosine[0, k]),
            float(scores.logit[0, k]),
        )
        for k in best
    ]
