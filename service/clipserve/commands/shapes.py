"""What an answer of a clipserve must hold. Fields that are not named here may be there too, and are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Name = Annotated[str, Field(max_length=1_000)]


class Shape(BaseModel):
    """Any of them. A number is no text, and a text no number."""

    model_config = ConfigDict(strict=True, extra="allow")


class Problem(Shape):
    """An error, as every front says it."""

    code: Annotated[str, Field(max_length=100)]
    detail: str


class Model(Shape):
    """One of `Models`."""

    id: Name
    fingerprint: Name
    ready: bool = True
    embed_dim: Annotated[int, Field(ge=1, le=65_536)]


class Models(Shape):
    """GET /v1/models."""

    data: Annotated[list[Model], Field(min_length=1)]


class Embedding(Shape):
    """One of `Embedded`: base64 of float32 [D], little-endian."""

    embedding: str


class Embedded(Shape):
    """POST /embed of one item."""

    fingerprint: Name
    results: Annotated[list[Embedding], Field(min_length=1, max_length=1)]


class Label(Shape):
    """One of an image, or of a text."""

    label: str
    score: FiniteFloat
    cosine: FiniteFloat
    logit: FiniteFloat


class Labels(Shape):
    """One of `Classified`: best first."""

    labels: Annotated[list[Label], Field(min_length=1)]


class Classified(Shape):
    """POST /classify of one image."""

    fingerprint: Name
    results: Annotated[list[Labels], Field(min_length=1, max_length=1)]
    warnings: list[str] = []


class Status(Shape):
    """GET /livez."""

    status: str


class Info(Shape):
    """Of `OpenApi`."""

    version: Name


class OpenApi(Shape):
    """GET /openapi.json."""

    info: Info


class LabelSet(Shape):
    """One of `LabelSets`, in short; GET and PUT /label-sets/NAME have more."""

    name: str
    state: str
    label_count: int
    prompts: int
    prompts_done: int
    read_only: bool
    model: str
    version: str


class LabelSets(Shape):
    """GET /label-sets."""

    label_sets: list[LabelSet]


class LabelOfSet(Shape):
    """One of `WholeLabelSet`."""

    label: str
    examples: list[str] = []


class WholeLabelSet(LabelSet):
    """GET and PUT /label-sets/NAME."""

    labels: list[LabelOfSet]
