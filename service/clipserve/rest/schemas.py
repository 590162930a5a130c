"""What a request may say and what an answer holds, but for labels. Also the source of /openapi.json and /docs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from clipserve.application.encodings import EmbeddingType
from clipserve.rest.errors import FRONT_CODES, kinds

_CODES = [kind.code for kind in kinds()]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def whole(value: object) -> object:
    """In JSON 2.0 is a whole number, and some clients write all their numbers so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class ChoiceFields(_Request):
    """Whom a request is for."""

    model: str | None = Field(default=None, description="name of a served model; without it, the first")
    expect_fingerprint: str | None = Field(
        default=None,
        description="that of the vectors you have: with another the request is refused; empty: any. The header "
        "X-Expect-Fingerprint says the same",
        examples=[""],
    )


class EmbedFields(ChoiceFields):
    """All of an embed request but its images."""

    texts: list[str] = Field(
        default=[],
        description="texts to embed; their results follow those of the images",
        examples=[["a photo of a cat"]],
    )
    truncate: bool = Field(default=False, description="cut texts of too many tokens instead of refusing them")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="a list of numbers, or base64 of their bytes, little-endian"
    )
    embedding_type: EmbeddingType = Field(
        default="float32", description="what the numbers are; docs/api.md says what each does to a search"
    )


class BulkFields(ChoiceFields):
    """What the query of a bulk request may say."""

    truncate: bool = Field(default=False, description="cut texts of too many tokens instead of refusing them")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="a list of numbers, or base64 of their bytes, little-endian"
    )
    embedding_type: EmbeddingType = Field(default="float32", description="what the numbers are")


class BulkLine(BaseModel):
    """One line of the answer to a bulk request; or `error` in place of the vector."""

    index: int = Field(description="of the line, from 0")
    embedding: list[float] | str


class SimilarityFields(ChoiceFields):
    """All of a similarity request but its images."""

    texts: list[str] = Field(
        default=[], description="texts to compare; their results follow those of the images"
    )
    to_texts: list[str] = Field(
        default=[],
        description="texts to compare with; they follow the images in `to_images`",
        examples=[["a photo of a cat", "a photo of a dog"]],
    )
    truncate: bool = Field(default=False, description="cut texts of too many tokens instead of refusing them")


class TokenizeFields(ChoiceFields):
    """All of a tokenize request."""

    texts: list[str] = Field(
        description="texts to tokenize",
        examples=[["a photo of a cat"]],
        json_schema_extra={"minItems": 1},
    )


def absent(description: str) -> Any:
    """A field that an answer may lack; it is never null."""
    return Field(default=None, description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


class ItemError(BaseModel):
    """Why one item of several has no result."""

    code: str = Field(description="stable: clients may branch on it", json_schema_extra={"enum": [*_CODES]})
    detail: str = Field(description="one sentence for people")
    limit: float | SkipJsonSchema[None] = absent(
        "the limit that was exceeded, in the unit that `detail` names"
    )
    actual: float | SkipJsonSchema[None] = absent("the value that exceeded it, in the same unit")
    index: int | SkipJsonSchema[None] = absent("position in the request of the image, text or label meant")


class Problem(ItemError):
    """An error of the whole request (RFC 9457, application/problem+json)."""

    code: str = Field(
        description="stable: clients may branch on it",
        json_schema_extra={"enum": [*_CODES, *FRONT_CODES.values()]},
    )
    type: str = Field(description="a name for the code as a URN", pattern="^urn:clipserve:error:[a-z_]+$")
    title: str = Field(description="the status in words")
    status: int = Field(description="the HTTP status")
    request_id: str = Field(description="the same as in X-Request-Id; the log has it too")


class ItemFailure(BaseModel):
    """An item that has no result. The others have theirs."""

    error: ItemError


_SCALE = "of int8: each value of the vector is this times the integer"


class TextVector(BaseModel):
    """The vector of one text. `truncated`: some of its `tokens` were cut."""

    embedding: list[float] | str
    scale: float | SkipJsonSchema[None] = absent(_SCALE)
    tokens: int
    truncated: bool


class ImageVector(BaseModel):
    """The vector of one image."""

    embedding: list[float] | str
    scale: float | SkipJsonSchema[None] = absent(_SCALE)


class EmbedResponse(BaseModel):
    """Results in the order given, images first."""

    model: str
    fingerprint: str = Field(description="changes whenever the same input could give another vector")
    results: list[TextVector | ImageVector | ItemFailure]


class ItemSimilarities(BaseModel):
    """One item beside each of those it is compared with: those of `to_images` first, then of `to_texts`."""

    cosine: list[float]
    logit: list[float] = Field(description="cosine times the model's scale, plus its bias")


class SimilarityResponse(BaseModel):
    """Results in the order given, images first."""

    model: str
    fingerprint: str = Field(description="changes whenever the same input could give another vector")
    results: list[ItemSimilarities | ItemFailure]


class TextTokens(BaseModel):
    """The tokens of one text as the encoder is given them, special tokens included."""

    ids: list[int]
    pieces: list[str] = Field(description="how each token is written in the vocabulary")
    tokens: int = Field(description="how many the text has")
    truncated: bool = Field(description="whether that is more than fit, so that some are left out here")


class TokenizeResponse(BaseModel):
    """Results in the order of the texts."""

    model: str
    fingerprint: str = Field(description="changes whenever the same input could give another vector")
    context_length: int = Field(description="how many tokens fit")
    results: list[TextTokens]


class ModelInfo(BaseModel):
    id: str
    object: Literal["model"]
    ready: bool
    fingerprint: str
    embed_dim: int
    image_size: int
    context_length: int
    scoring: str
    logit_scale: float
    logit_bias: float
    prompt_templates: list[str]
    precision: str
    checkpoint: str
    licence: str
    random_weights: bool


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelInfo]


class ListedTemplateSet(BaseModel):
    """A template set without its class names."""

    name: str = Field(description="may stand for all its templates in the field `templates`")
    templates: list[str] = Field(description="each with one or two slots `{}` for a label")
    classes: int = Field(description="how many class names there are")
    source: str = Field(description="where the text was published, and its licence")


class TemplateSetList(BaseModel):
    """The general ones first, then by name."""

    template_sets: list[ListedTemplateSet]


class TemplateSetInfo(ListedTemplateSet):
    """A template set with its class names."""

    class_names: list[str] = Field(
        description="of the data set that the templates were written for, in its order, for the field `labels`"
    )


class Alive(BaseModel):
    status: Literal["alive"]


class Ready(BaseModel):
    status: Literal["ready"]


class NotReady(BaseModel):
    status: Literal["not ready"]
