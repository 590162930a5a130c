"""Ranks the labels of an image: the best first, without those below a threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from clipserve.api.answers import ImageLabels, ImageLabelSets, LabelScore, LabelSetLabels, shown
from clipserve.api.requests import ClassifyRequest
from clipserve.application.encoder import VectorOrError
from clipserve.clip.zeroshot import FloatArray, Scores, ScoringFunction, ZeroShotClassifier
from clipserve.errors import ClipError


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


class RankedLabels(Sequence[LabelScore]):
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
    def __getitem__(self, at: int) -> LabelScore: ...
    @overload
    def __getitem__(self, at: slice) -> list[LabelScore]: ...
    def __getitem__(self, at: int | slice) -> LabelScore | list[LabelScore]:
        return list(self)[at]

    def __iter__(self) -> Iterator[LabelScore]:
        for k, score, cosine, logit in self._rows():
            yield LabelScore(self._labels[k], score, cosine, logit, self._ids[k] if self._ids else None)

    def _rows(self) -> Iterator[tuple[int, float, float, float]]:
        """The position, score, cosine and logit of each. NumPy makes Python's numbers of an array in one step."""
        columns = (self._scores.score, self._scores.cosine, self._scores.logit)
        return zip(self._order.tolist(), *(each[0, self._order].tolist() for each in columns), strict=True)

    def fields(self) -> list[dict[str, Any]]:
        """`shown` of each."""
        if self._ids:
            return [shown(label) for label in self]
        labels = self._labels
        return [
            {"label": labels[k], "score": score, "cosine": cosine, "logit": logit}
            for k, score, cosine, logit in self._rows()
        ]


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


def ranked(
    classified: Classified, vectors: Sequence[VectorOrError], names: Sequence[str] = ()
) -> list[ImageLabels | ImageLabelSets | ClipError]:
    """The labels of each image by each classifier, or the image's error. `names`: of the label sets, if any."""
    results: list[ImageLabels | ImageLabelSets | ClipError] = []
    for vector in vectors:
        if isinstance(vector, ClipError):
            results.append(vector)
            continue
        lists = [
            RankedLabels(
                classifier.labels,
                classifier.scores(
                    vector[np.newaxis], ranking.function, ranking.temperature, ranking.background
                ),  # [1, K]
                ranking,
            )
            for classifier, ranking in classified
        ]
        several = len(lists) > 1
        results.append(
            ImageLabelSets([*map(LabelSetLabels, names, lists)]) if several else ImageLabels(lists[0])
        )
    return results


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
