"""The answers of the use cases, which each front renders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clipserve.application.ranking import LabelLists
from clipserve.clip.manifest import ModelManifest, ScoringSpec
from clipserve.clip.zeroshot import logits
from clipserve.errors import ClipError

if TYPE_CHECKING:  # they load Pillow and tokenizers, and a client has answers too
    from clipserve.application.encoder import EncodedText, VectorOrError
    from clipserve.clip.tokenizer import TokenizedText


@dataclass(frozen=True)
class LabelSetVersion:
    """The label set of an answer. Its version changes with everything that decides its scores."""

    name: str
    version: str


@dataclass(frozen=True)
class Classification:
    """For each image its labels, best first, or its error.

    An image has one list of labels, or one for each of several `label_sets`. `warnings`: about the labels and the
    scoring of the request, for people.
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
    """One item compared with M others: two arrays, float32 [M].

    `logit`: the cosine with the model's scale and bias applied.
    """

    cosine: npt.NDArray[np.float32]
    logit: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Similarities:
    """For each item its similarities, or the error of an image; images come first."""

    model: str
    fingerprint: str
    results: list[Similarity | ClipError]


@dataclass(frozen=True)
class Tokens:
    """The tokens of one text.

    Attributes:
        ids: of the tokens that the encoder gets.
        pieces: the spelling of each in the vocabulary.
        tokens: the number of tokens before the text was cut, special tokens included.
        truncated: whether the text was cut.
    """

    ids: list[int]
    pieces: list[str]
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class Tokenization:
    """The tokens of each text. `context_length`: the most tokens that the encoder takes."""

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
    """The similarities of each item to `others`, which has no errors; or the item's error."""
    matrix = np.stack([other for other in others if not isinstance(other, ClipError)])  # [M, D]
    cosines = (item if isinstance(item, ClipError) else matrix @ item for item in items)  # [M]
    return [
        cosine if isinstance(cosine, ClipError) else Similarity(cosine, logits(cosine, scoring))
        for cosine in cosines
    ]


def spelled(rows: Sequence[TokenizedText], pieces: Callable[[Sequence[int]], list[str]]) -> list[Tokens]:
    """The tokens of each text. `pieces`: ids -> the spelling of each."""
    return [Tokens(row.ids, pieces(row.ids), row.tokens, row.truncated) for row in rows]
