"""What /openapi.json says of POST /post."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from clipserve.application.limits import RequestLimits
from clipserve.rest.compat import schemas
from clipserve.rest.documented import NO_TEMPLATES, operation, refer
from clipserve.rest.examples import PNG


class JinaScore(BaseModel):
    value: float
    op_name: str


class JinaDocument(BaseModel):
    """As it was sent, but for images. `scores` are those of a match: `clip_score` and `clip_score_cosine`."""

    id: str | None = None
    text: str | None = None
    tags: dict[str, bool] | None = Field(default=None, description="`truncated`: the text was cut")
    embedding: list[float] | None = None
    scores: dict[str, JinaScore] | None = None
    matches: list[JinaDocument] | None = Field(default=None, description="best first")


class JinaDocuments(BaseModel):
    data: list[JinaDocument]


_EXAMPLE = {"data": [{"id": "a", "text": "a photo of a cat", "embedding": [0.8, 0.6]}]}
POST = operation("clip_as_service_post", JinaDocuments, _EXAMPLE, NO_TEMPLATES)
POST["responses"][200]["headers"] |= refer("X-Model-Fingerprint")


def body_of(limits: RequestLimits, names: Sequence[str]) -> schemas.Schema:
    plain = _documents(limits, {})
    with_matches = _documents(limits, {"matches": plain})
    parameters = {
        "type": ["object", "null"],
        "properties": {"model_name": {"enum": [*names, None]}},
        "description": "ignored, but for `model_name`",
    }
    encode = ["/", "/encode", *(f"/encode/{name}" for name in names), None]
    rank = ["/rank", *(f"/rank/{name}" for name in names)]
    schema = {
        "type": "object",
        "properties": {"parameters": parameters},
        "required": ["data"],
        "oneOf": [
            {"properties": {"data": plain, "execEndpoint": {"enum": encode}}},
            {
                "properties": {"data": with_matches, "execEndpoint": {"enum": rank}},
                "required": ["execEndpoint"],
            },
        ],
    }
    ranking = {"data": [{"blob": PNG, "matches": [{"text": "a cat"}, {"text": "a dog"}]}]}
    examples = {
        "embed": {"data": [{"id": "a", "text": "a photo of a cat"}, {"blob": PNG}], "execEndpoint": "/"},
        "rank": ranking | {"execEndpoint": "/rank"},
    }
    return schemas.json_body(schema, examples)


def _documents(limits: RequestLimits, others: schemas.Schema) -> schemas.Schema:
    """Texts or images, each with these fields too."""
    text = schemas.text(limits) | {"minLength": 1}
    kinds = [
        {
            "type": "object",
            "properties": {"id": {"description": "given back, if it is a text"}, name: schema, **others},
            "required": [name, *others],
        }
        for name, schema in (("text", text), ("blob", schemas.IMAGE))
    ]
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": limits.max_texts + limits.max_images,
        "items": {"anyOf": kinds},
    }
