"""What a request may say and what an answer holds. Also the source of /docs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassifyFields(_Request):
    """All of a classify request but its images."""

    labels: list[str] = Field(description="what the image may be; the scores compare these")
    templates: list[str] = Field(
        default=[],
        description="prompt templates such as `a photo of a {}.`, or names of template sets; several are averaged",
    )
    model: str | None = Field(default=None, description="name of a served model; without it, the first")
    top_k: int | None = Field(default=None, description="how many labels to return; without it, all")
    truncate: bool = Field(
        default=False, description="cut prompts of too many tokens instead of refusing them"
    )


class EmbedFields(_Request):
    """All of an embed request but its images."""

    texts: list[str] = Field(
        default=[], description="texts to embed; their results follow those of the images"
    )
    model: str | None = Field(default=None, description="name of a served model; without it, the first")
    truncate: bool = Field(default=False, description="cut texts of too many tokens instead of refusing them")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="a list of numbers, or base64 of little-endian float32"
    )


class ItemError(BaseModel):
    """Why one item of several has no result."""

    code: str
    detail: str
    limit: float | None = None
    actual: float | None = None
    index: int | None = None


class Problem(ItemError):
    """An error of the whole request (RFC 9457)."""

    type: str
    title: str
    status: int
    request_id: str


class LabelScore(BaseModel):
    label: str
    score: float = Field(description="probability: softmax over the labels, or the sigmoid of each alone")
    cosine: float = Field(description="similarity of image and label, -1 to 1")
    logit: float = Field(description="cosine times the model's scale, plus its bias")


class ClassifyResult(BaseModel):
    """Either `labels`, best first, or `error`."""

    labels: list[LabelScore] | None = None
    error: ItemError | None = None


class ClassifyResponse(BaseModel):
    """Results in the order of the images."""

    model: str
    fingerprint: str = Field(description="changes whenever the same input could give another vector")
    results: list[ClassifyResult]
    truncated_labels: list[str] | None = Field(default=None, description="labels whose prompts were cut")


class EmbedResult(BaseModel):
    """Either `embedding` or `error`. `tokens` and `truncated` are of texts."""

    embedding: list[float] | str | None = None
    tokens: int | None = None
    truncated: bool | None = None
    error: ItemError | None = None


class EmbedResponse(BaseModel):
    """Results in the order given, images first."""

    model: str
    fingerprint: str = Field(description="changes whenever the same input could give another vector")
    results: list[EmbedResult]


class ModelInfo(BaseModel):
    id: str
    object: Literal["model"] = "model"
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
    object: Literal["list"] = "list"
    data: list[ModelInfo]


def request_body(fields: type[_Request]) -> dict[str, Any]:
    """The OpenAPI description of the three forms a request may take, all with the same fields."""
    schema = fields.model_json_schema()
    own, required = schema["properties"], schema.get("required", [])
    binary = {"type": "string", "format": "binary"}
    form = {"image": {"type": "array", "items": binary}, **own}
    if "texts" in form:
        form["text"] = form.pop("texts")
    images = {
        "type": "array",
        "items": {"type": "string"},
        "description": "base64 or data URIs (data:image/jpeg;base64,...)",
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {"type": "object", "properties": form, "required": required}
                },
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"images": images, **own},
                        "required": required,
                        "additionalProperties": False,
                    }
                },
                "image/*": {"schema": binary},
            },
        }
    }
