"""What is answered. Each front renders it in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from service.application.encoder import EncodedText, VectorOrError
from service.clip.manifest import ModelManifest, ScoringSpec
from service.clip.tokenizer import TokenizedText
from service.clip.zeroshot import Scores, ZeroShotClassifier, logits
from service.errors import ClipError

# Results that a front renders in half a millisecond at most.
_SHORT_LABELS = 256
_SHORT_VECTORS = 32


@dataclass(frozen=True)
class ScoredLabel:
    label: str
    score: float
    cosine: float
    logit: float


class RankedLabels(Sequence[ScoredLabel]):
    """The labels of one image, best first. Numbers in arrays, because as objects they take ten times the memory."""

    def __init__(self, labels: Sequence[str], scores: Scores, top_k: int | None) -> None:
        """`scores`: each [1, K], for the K labels."""
        self._labels = labels
        self._scores = scores
        # By logit: softmax rounds distinct logits to equal scores.
        self._order = np.argsort(-scores.logit[0], kind="stable")[:top_k]

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, at: int) -> ScoredLabel: ...
    @overload
    def __getitem__(self, at: slice) -> list[ScoredLabel]: ...
    def __getitem__(self, at: int | slice) -> ScoredLabel | list[ScoredLabel]:
        if isinstance(at, slice):
            return [self._scored(k) for k in self._order[at]]
        return self._scored(self._order[at])

    def _scored(self, k: int) -> ScoredLabel:
        scores = self._scores
        return ScoredLabel(
            self._labels[k], float(scores.score[0, k]), float(scores.cosine[0, k]), float(scores.logit[0, k])
        )


@dataclass(frozen=True)
class Classification:
    """For each image its labels, best first, or its error."""

    model: str
    fingerprint: str
    results: list[Sequence[ScoredLabel] | ClipError]
    truncated_labels: tuple[str, ...]


@dataclass(frozen=True)
class Embedding:
    """For each image its vector or its error, then for each text its vector."""

    model: str
    fingerprint: str
    images: list[VectorOrError]
    texts: list[EncodedText]


@dataclass(frozen=True)
class Similarity:
    """One item beside all those it is compared with: two arrays, float32 [M].

    `logit`: the model's own of each cosine, which its scores are made of.
    """

    cosine: npt.NDArray[np.float32]
    logit: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Similarities:
    """For each item its similarities, images first, or the image's error."""

    model: str
    fingerprint: str
    results: list[Similarity | ClipError]


@dataclass(frozen=True)
class Tokens:
    """One text as the encoder is given it: `ids`, and how each is written in the vocabulary.

    `tokens` counts what the text has, special tokens included; `truncated`: there are more than fit.
    """

    ids: list[int]
    pieces: list[str]
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class Tokenization:
    """The tokens of each text; `context_length`: how many fit."""

    model: str
    fingerprint: str
    context_length: int
    results: list[Tokens]


@dataclass(frozen=True)
class ModelState:
    manifest: ModelManifest
    fingerprint: str
    ready: bool


def ranked(
    classifier: ZeroShotClassifier, vectors: Sequence[VectorOrError], top_k: int | None
) -> list[Sequence[ScoredLabel] | ClipError]:
    """Of each image its labels, best first, or its error."""
    return [
        vector
        if isinstance(vector, ClipError)
        else RankedLabels(classifier.labels, classifier.scores(vector[np.newaxis]), top_k)
        for vector in vectors
    ]


def compared(
    items: Sequence[VectorOrError], others: Sequence[VectorOrError], scoring: ScoringSpec
) -> list[Similarity | ClipError]:
    """Of each item its similarities to the others, none of which is an error, or its error."""
    matrix = np.stack([other for other in others if not isinstance(other, ClipError)])  # [M, D]
    cosines = (item if isinstance(item, ClipError) else matrix @ item for item in items)  # [M]
    return [
        cosine if isinstance(cosine, ClipError) else Similarity(cosine, logits(cosine, scoring))
        for cosine in cosines
    ]


def spelled(rows: Sequence[TokenizedText], pieces: Callable[[Sequence[int]], list[str]]) -> list[Tokens]:
    """`pieces`: ids -> how each is written."""
    return [Tokens(row.ids, pieces(row.ids), row.tokens, row.truncated) for row in rows]


def is_short(answer: Classification | Embedding | Similarities | Tokenization) -> bool:
    """Whether it is rendered faster than a thread is woken, or nearly so."""
    if isinstance(answer, Embedding):
        return len(answer.images) + len(answer.texts) <= _SHORT_VECTORS
    if isinstance(answer, Classification):
        labels = sum(len(result) for result in answer.results if not isinstance(result, ClipError))
        return labels <= _SHORT_LABELS
    return len(answer.results) <= _SHORT_VECTORS
