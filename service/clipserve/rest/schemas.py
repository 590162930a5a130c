"""The fields of requests except images. `document/` says what each field means."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from clipserve.application.encodings import EmbeddingType
from clipserve.application.label_sets.definition import Number, Texts
from clipserve.clip.zeroshot import ScoringFunction

_INT32 = 2**31 - 1


def whole(value: object) -> object:
    """A whole float as an int: some JSON clients write all numbers as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class ChoiceFields(BaseModel):
    """The fields that choose the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    expect_fingerprint: str | None = None


class ClassifyFields(ChoiceFields):
    labels: Texts = []
    label_sets: Texts = []
    templates: Texts = []
    background: Texts = []
    scoring: ScoringFunction | None = None
    temperature: Number | None = None
    threshold: Number | None = None
    top_k: Annotated[int, BeforeValidator(whole), Field(le=_INT32)] | None = None
    truncate: bool = False


class EmbedFields(ChoiceFields):
    texts: Texts = []
    truncate: bool = False
    encoding_format: Literal["float", "base64"] = "float"
    embedding_type: EmbeddingType = "float32"


class BulkFields(ChoiceFields):
    truncate: bool = False
    encoding_format: Literal["float", "base64"] = "float"
    embedding_type: EmbeddingType = "float32"


class SimilarityFields(ChoiceFields):
    texts: Texts = []
    to_texts: Texts = []
    truncate: bool = False


class TokenizeFields(ChoiceFields):
    texts: Texts
