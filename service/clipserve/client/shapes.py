"""The fields that an answer of clipserve must have. Other fields are allowed and kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

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
    embed_dim: Annotated[int, Field(ge=1, le=65_536)]
    logit_scale: FiniteFloat = 1.0
    logit_bias: FiniteFloat = 0.0


class ModelsShape(Shape):
    """GET /v1/models."""

    data: Annotated[list[ModelShape], Field(min_length=1)]


class EmbeddingShape(Shape):
    """One of `EmbeddedShape`: base64 of float32 [D], little-endian."""

    embedding: str


class EmbeddedShape(Shape):
    """POST /embed of one item."""

    fingerprint: Name
    results: Annotated[list[EmbeddingShape], Field(min_length=1, max_length=1)]


class LabelShape(Shape):
    """One of an image, or of a text."""

    label: str
    score: FiniteFloat
    cosine: FiniteFloat
    logit: FiniteFloat
    id: str | None = None


class LabelsShape(Shape):
    """One of `ClassifiedShape`: best first."""

    labels: list[LabelShape]


class ClassifiedShape(Shape):
    """POST /classify of one image."""

    fingerprint: Name
    results: Annotated[list[LabelsShape], Field(min_length=1, max_length=1)]
    warnings: list[str] = []


class TextTokensShape(Shape):
    """One of `TokenizedShape`."""

    ids: list[int]
    pieces: list[str]
    tokens: int
    truncated: bool


class TokenizedShape(Shape):
    """POST /tokenize."""

    fingerprint: Name
    context_length: int
    results: list[TextTokensShape]


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

    label_sets: list[LabelSetShape]


class LabelOfSetShape(Shape):
    """One of `WholeLabelSetShape`."""

    label: str
    examples: list[str] = []


class WholeLabelSetShape(LabelSetShape):
    """GET and PUT /label-sets/NAME."""

    labels: list[LabelOfSetShape]
