"""What the client needs of answers: the types of `clipserve.api`, narrowed to what it has asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from clipserve.api.answers import ImageLabelsJson, JsonAnswer, List, TextTokensJson
from clipserve.api.sets import SetLabelJson

_MAX_DIM = 65_536
_MAX_BASE64 = 4 * -(-_MAX_DIM * 4 // 3)  # characters for a vector
Name = Annotated[str, Field(max_length=1_000)]


class ProblemShape(JsonAnswer):
    """An error, in the form of all fronts."""

    code: Annotated[str, Field(max_length=100)]
    detail: str


class ModelShape(JsonAnswer):
    """One of `ModelsShape`."""

    id: Name
    fingerprint: Name
    ready: bool = True
    embed_dim: Annotated[int, Field(ge=1, le=_MAX_DIM)]
    logit_scale: FiniteFloat = 1.0
    logit_bias: FiniteFloat = 0.0


class ModelsShape(JsonAnswer):
    """GET /v1/models."""

    data: Annotated[List[ModelShape], Field(min_length=1)]


class EmbeddingShape(JsonAnswer):
    """One of `EmbeddedShape`: base64 of float32 [D], little-endian."""

    embedding: Annotated[str, Field(max_length=_MAX_BASE64)]


class EmbeddedShape(JsonAnswer):
    """POST /embed of one item."""

    fingerprint: Name
    results: Annotated[List[EmbeddingShape], Field(min_length=1, max_length=1)]


class ClassifiedShape(JsonAnswer):
    """POST /classify of one image."""

    fingerprint: Name
    results: Annotated[List[ImageLabelsJson], Field(min_length=1, max_length=1)]
    warnings: Annotated[List[str], Field(default_factory=list)]


class TokenizedShape(JsonAnswer):
    """POST /tokenize."""

    fingerprint: Name
    context_length: int
    results: List[TextTokensJson]


class StatusShape(JsonAnswer):
    """GET /readyz."""

    status: str


class LabelSetShape(JsonAnswer):
    """One of `LabelSetsShape`; GET and PUT /label-sets/NAME have more fields."""

    name: str
    state: str
    label_count: int
    prompts: int
    prompts_done: int
    read_only: bool
    model: str
    version: str


class LabelSetsShape(JsonAnswer):
    """GET /label-sets."""

    label_sets: List[LabelSetShape]


class WholeLabelSetShape(LabelSetShape):
    """GET and PUT /label-sets/NAME."""

    labels: List[SetLabelJson]
