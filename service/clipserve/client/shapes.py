"""The fields that an answer of clipserve must have. Other fields are allowed and kept."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, FiniteFloat

T = TypeVar("T")

# An error of a list is its first item's: those of all items would take a hundred times the answer's memory.
List = Annotated[list[T], FailFast()]
_MAX_DIM = 65_536
_MAX_BASE64 = 4 * -(-_MAX_DIM * 4 // 3)  # characters for a vector
Name = Annotated[str, Field(max_length=1_000)]


class Shape(BaseModel):
    """Base of all shapes. It is strict: it converts no text to a number, and no number to a text."""

    model_config = ConfigDict(strict=True, extra="allow")


class ProblemShape(Shape):
    """An error, in the form of all fronts."""

    code: Annotated[str, Field(max_length=100)]
    detail: str


class ModelShape(Shape):
    """One of `ModelsShape`."""

    id: Name
    fingerprint: Name
    ready: bool = True
    embed_dim: Annotated[int, Field(ge=1, le=_MAX_DIM)]
    logit_scale: FiniteFloat = 1.0
    logit_bias: FiniteFloat = 0.0


class ModelsShape(Shape):
    """GET /v1/models."""

    data: Annotated[List[ModelShape], Field(min_length=1)]


class EmbeddingShape(Shape):
    """One of `EmbeddedShape`: base64 of float32 [D], little-endian."""

    embedding: Annotated[str, Field(max_length=_MAX_BASE64)]


class EmbeddedShape(Shape):
    """POST /embed of one item."""

    fingerprint: Name
    results: Annotated[List[EmbeddingShape], Field(min_length=1, max_length=1)]


class LabelShape(Shape):
    """One of an image, or of a text."""

    label: str
    score: FiniteFloat
    cosine: FiniteFloat
    logit: FiniteFloat
    id: str | None = None


class LabelsShape(Shape):
    """One of `ClassifiedShape`: best first."""

    labels: List[LabelShape]


class ClassifiedShape(Shape):
    """POST /classify of one image."""

    fingerprint: Name
    results: Annotated[List[LabelsShape], Field(min_length=1, max_length=1)]
    warnings: List[str] = []


class TextTokensShape(Shape):
    """One of `TokenizedShape`."""

    ids: List[int]
    pieces: List[str]
    tokens: int
    truncated: bool


class TokenizedShape(Shape):
    """POST /tokenize."""

    fingerprint: Name
    context_length: int
    results: List[TextTokensShape]


class StatusShape(Shape):
    """GET /readyz."""

    status: str


class LabelSetShape(Shape):
    """One of `LabelSetsShape`; GET and PUT /label-sets/NAME have more fields."""

    name: str
    state: str
    label_count: int
    prompts: int
    prompts_done: int
    read_only: bool
    model: str
    version: str


class LabelSetsShape(Shape):
    """GET /label-sets."""

    label_sets: List[LabelSetShape]


class LabelOfSetShape(Shape):
    """One of `WholeLabelSetShape`."""

    label: str
    examples: List[str] = []


class WholeLabelSetShape(LabelSetShape):
    """GET and PUT /label-sets/NAME."""

    labels: List[LabelOfSetShape]
