"""Ranks the labels of an image: the best first, without those below a threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from clipserve.api.requests import ClassifyRequest
from clipserve.clip.zeroshot import FloatArray, Scores, ScoringFunction, ZeroShotClassifier
from clipserve.errors import ClipError

if TYPE_CHECKING:  # it loads Pillow, and a client has labels too
    from clipserve.application.encoder import VectorOrError


@dataclass  # not frozen: a thousand of these would take three times as long to make
class ScoredLabel:
    label: str
    score: float
    cosine: float
    logit: float


@dataclass
class IdentifiedLabel(ScoredLabel):
    """A label with the id from its label set."""

    id: str


LabelLists = tuple[Sequence[ScoredLabel], ...]


@dataclass(frozen=True)
class Ranking:
    """Which labels are returned, and with what scores; see `ZeroShotClassifier.scores`.

    Attributes:
        threshold: labels with a lower score are not returned. One number, or one for each label, [K].
        top_k: the most labels that are returned; None: all.
        background: the number of labels at the end that are not returned.
        ids: of each label, [K]; empty: no label has one.
    """

    function: ScoringFunction | None = None
    temperature: float = 1.0
    threshold: FloatArray | float | None = None
    top_k: int | None = None
    background: int = 0
    ids: Sequence[str | None] = ()

    @classmethod
    def of(cls, request: ClassifyRequest) -> Ranking:
        """That of the labels of a request, which has no label sets."""
        return cls(
            request.scoring,
            request.temperature or 1.0,
            request.threshold,
            request.top_k,
            len(request.background),
        )


class RankedLabels(Sequence[ScoredLabel]):
    """The labels of one image, best first. Numbers stay in arrays: as objects they take ten times the memory."""

    def __init__(self, labels: Sequence[str], scores: Scores, ranking: Ranking) -> None:
        """`scores`: each [1, K], for the K labels."""
        self._labels = labels
        self._scores = scores
        self._ids = ranking.ids
        # By logit: softmax rounds distinct logits to equal scores.
        order = np.argsort(-scores.logit[0], kind="stable")
        if ranking.threshold is not None:
            order = order[(scores.score[0] >= np.float32(ranking.threshold))[order]]
        self._order = order[: ranking.top_k]

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, at: int) -> ScoredLabel: ...
    @overload
    def __getitem__(self, at: slice) -> list[ScoredLabel]: ...
    def __getitem__(self, at: int | slice) -> ScoredLabel | list[ScoredLabel]:
        if isinstance(at, slice):
            return list(self._scored(self._order[at]))
        return next(self._scored(self._order[at, np.newaxis]))

    def __iter__(self) -> Iterator[ScoredLabel]:
        return self._scored(self._order)

    def _scored(self, order: npt.NDArray[np.intp]) -> Iterator[ScoredLabel]:
        """Those of these positions. NumPy turns all numbers of an array into Python's in one step."""
        columns = (
            each[0, order].tolist() for each in (self._scores.score, self._scores.cosine, self._scores.logit)
        )
        for k, score, cosine, logit in zip(order.tolist(), *columns, strict=True):
            own_id = self._ids[k] if self._ids else None
            label = self._labels[k]
            if own_id is None:
                yield ScoredLabel(label, score, cosine, logit)
            else:
                yield IdentifiedLabel(label, score, cosine, logit, own_id)


_SINGLE = (
    "a single label under softmax has the score 1 whatever the image shows: add labels, or background labels, or "
    "ask for another scoring."
)
_COMMA = "a label with commas is one label: send each label in a field or an item of its own."
_UNCALIBRATED = (
    "the model was trained with softmax: under sigmoid the scores of wrong labels are high too. Compare them with "
    "each other, or leave scoring out."
)

Classified = Sequence[tuple[ZeroShotClassifier, Ranking]]


def ranked(classified: Classified, vectors: Sequence[VectorOrError]) -> list[LabelLists | ClipError]:
    """The labels of each image by each classifier, or the image's error."""
    return [
        vector
        if isinstance(vector, ClipError)
        else tuple(_labels(vector, classifier, ranking) for classifier, ranking in classified)
        for vector in vectors
    ]


def _labels(vector: FloatArray, classifier: ZeroShotClassifier, ranking: Ranking) -> RankedLabels:
    scores = classifier.scores(
        vector[np.newaxis], ranking.function, ranking.temperature, ranking.background
    )  # [1, K]
    return RankedLabels(classifier.labels, scores, ranking)


def warnings_of(classified: Classified) -> tuple[str, ...]:
    """Warnings about these labels and their scoring, for people, without duplicates."""
    told: dict[str, None] = {}
    for classifier, ranking in classified:
        model = classifier.scoring.function
        function = ranking.function or model
        if len(classifier.labels) == 1 and "," in classifier.labels[0]:
            told[_COMMA] = None
        if len(classifier.labels) == 1 and function == "softmax":
            told[_SINGLE] = None
        if function == "sigmoid" and model == "softmax":
            told[_UNCALIBRATED] = None
    return tuple(told)
