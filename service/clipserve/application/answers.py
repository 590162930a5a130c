"""What is answered. Each front renders it in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipserve.application.encoder import EncodedText, VectorOrError
from clipserve.application.ranking import LabelLists
from clipserve.clip.manifest import ModelManifest, ScoringSpec
from clipserve.clip.tokenizer import TokenizedText
from clipserve.clip.zeroshot import logits
from clipserve.errors import ClipError

# Results that a front renders in half a millisecond at most.
_SHORT_LABELS = 256
_SHORT_VECTORS = 32


@dataclass(frozen=True)
class LabelSetVersion:
    """A label set as it was used: its version changes with all that decides its scores."""

    name: str
    version: str


@dataclass(frozen=True)
class Classification:
    """For each image its labels, best first, or its error.

    The labels of an image are one list, or one for each of `label_sets` if these are several. `warnings`: what
    is odd about what was asked, for people.
    """

    model: str
    fingerprint: str
    results: list[LabelLists | ClipError]
    truncated_labels: tuple[str, ...] = ()
    label_sets: tuple[LabelSetVersion, ...] = ()
    warnings: tuple[str, ...] = ()


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
        lists = (lists for lists in answer.results if not isinstance(lists, ClipError))
        return sum(len(labels) for each in lists for labels in each) <= _SHORT_LABELS
    return len(answer.results) <= _SHORT_VECTORS
