"""What commands know of CLIP: images and texts in, vectors and labels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clipserve import errors
from clipserve.clip.zeroshot import ScoringFunction
from clipserve.engine.backend import Vector

# Codes of errors that are an item's own: the next item may be well. Every other one ends the command.
OF_IMAGE = frozenset(
    kind.code
    for kind in (
        errors.BodyTooLarge,
        errors.ImageTooLarge,
        errors.UndecodableImage,
        errors.UnsupportedFormat,
    )
)
OF_TEXT = frozenset(
    kind.code for kind in (errors.BodyTooLarge, errors.InvalidInput, errors.TextTooLong, errors.TooMany)
)
INVALID_VECTOR = "invalid_vector"  # what a service answered is none of its model
# An item may be at fault, or the encoders: who asks has to find out, with an item that is known to be good.
DOUBTFUL = frozenset({INVALID_VECTOR, errors.BackendFailed.code, errors.ClipError.code})


class ItemFailed(Exception):
    """One image or text has no vector. `code`: as in the table of errors. `doubtful`: see DOUBTFUL."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    @property
    def doubtful(self) -> bool:
        return self.code in DOUBTFUL


class CannotGoOn(Exception):
    """The command has to end; the message says why, and what to do. What is done stays done."""


@dataclass(frozen=True)
class ServedBy:
    """The model that answers. Vectors of two fingerprints cannot be compared."""

    model: str
    fingerprint: str
    embed_dim: int


@dataclass(frozen=True)
class EmbeddedImage:
    """`vector`: float32 [D], of unit length. `size`: (width, height) in pixels, as the file has it."""

    vector: Vector
    size: tuple[int, int]


@dataclass(frozen=True)
class Question:
    """What an image is to be classified by: labels, or the name of a label set. None: as these or the model say."""

    labels: Sequence[str] = ()
    label_set: str | None = None
    templates: Sequence[str] = ()
    scoring: ScoringFunction | None = None
    top_k: int | None = None


@dataclass(frozen=True)
class Classified:
    """`labels`: best first, each with `label`, `score`, `cosine`, `logit`, perhaps `id`. `warnings`: for people."""

    labels: Sequence[dict[str, Any]]
    warnings: Sequence[str] = ()


class Clip(Protocol):
    """One model, until its context ends. Many calls may be under way at a time; more than `in_flight` gain nothing.

    Every call may raise ItemFailed, which is about its own image or text, and CannotGoOn.
    """

    @property
    def served_by(self) -> ServedBy:
        """Of every answer: it cannot change on the way."""

    @property
    def in_flight(self) -> int:
        """Calls at a time."""

    async def embed_image(self, image: bytes) -> EmbeddedImage:
        """`image`: a file's content."""

    async def embed_text(self, text: str, *, truncate: bool) -> Vector:
        """float32 [D]. `truncate`: cut a text of too many tokens instead of refusing it."""

    async def classify(self, image: bytes, question: Question) -> Classified:
        """The labels of one image."""


def failure(code: str, detail: str, own: frozenset[str]) -> ItemFailed | CannotGoOn:
    """The error of one call. `own`: the codes that are about its item."""
    if code in own or code in DOUBTFUL:
        return ItemFailed(code, detail)
    return CannotGoOn(f"{detail} ({code})")
