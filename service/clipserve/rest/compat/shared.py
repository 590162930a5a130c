"""What adapters share: fields and schemas of requests, and answers without a field for the fingerprint."""

from __future__ import annotations

from typing import Annotated, Any, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from clipserve.api.answers import OfModel
from clipserve.api.fields import ModelName, whole
from clipserve.rest.document import Json
from clipserve.rest.errors import Failure, told
from clipserve.rest.reading import expected
from clipserve.rest.rendering import json_response
from clipserve.rest.validating import validated

TAGS: list[str] = ["clients of other servers"]

# JSON schemas of items. `$max_texts` is filled in by `clipserve.rest.document`.
TEXT: Json = {"type": "string", "maxLength": "$max_text_chars"}
IMAGE: Json = {"type": "string", "format": "image", "description": "an image as base64 or as a data URI"}
IMAGE_URI: Json = {
    "type": "string",
    "format": "image-uri",
    "description": "an image as a data URI: data:image/jpeg;base64,...",
}


def having(name: str, schema: Json) -> Json:
    """A JSON schema: an object with this field."""
    return {"type": "object", "properties": {name: schema}, "required": [name]}


def list_of(schema: Json, most: object = "$max_items", least: int = 1) -> Json:
    """A JSON schema: a list of so many."""
    return {"type": "array", "items": schema, "minItems": least, "maxItems": most}


_PARTS = [having("text", TEXT), having("image_url", having("url", IMAGE_URI)), having("image_base64", IMAGE)]
_PART: Json = {"anyOf": _PARTS}
ITEM: Json = {"anyOf": [TEXT, IMAGE_URI, having("image", IMAGE), *_PARTS]}
IMAGE_ITEM: Json = {"anyOf": [IMAGE, having("image", IMAGE), *_PARTS]}
MESSAGE = having("content", list_of(_PART, 1))
CHAT_MESSAGE = having("content", {"anyOf": [TEXT, list_of(_PART, 1)]})
CHAT_MESSAGE["properties"]["role"] = {"description": "any"}

Dimensions = Annotated[
    int,
    Field(ge=1, description="must be the model's own number: vectors are not shortened"),
    BeforeValidator(whole),
]
Ignored = Annotated[object, Field(description="ignored, as is every field that is not listed")]
Text = Annotated[str, WithJsonSchema(TEXT)]
EncodedImage = Annotated[str, WithJsonSchema(IMAGE)]


class Options(BaseModel):
    """The fields of a request beside its items. Fields of other names are ignored."""

    model_config = ConfigDict(frozen=True)

    model: ModelName | None = None

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Raises InvalidInput: a field is invalid; the message names it."""
        return validated(cls, fields)


def one_of(**schemas: Json) -> ConfigDict:
    """One of these fields is given, by this schema, and the others are not."""
    absent = {field: {"type": "null"} for field in schemas}
    given: list[Any] = [
        {"properties": {**absent, field: schema}, "required": [field]} for field, schema in schemas.items()
    ]
    return ConfigDict(json_schema_extra={"oneOf": given})


def chosen(request: Request, model: str | None) -> dict[str, Any]:
    """The fields of `Choice` for a request."""
    return {"model": model, "expect_fingerprint": expected(request)}


def shaped(body: object, answer: OfModel) -> Response:
    """An answer without a field for the model's fingerprint, which a header has."""
    return json_response(body, headers={"X-Model-Fingerprint": answer.fingerprint})


class JsonAnswer(BaseModel):
    """Base of the answers of adapters, which describes them. Other fields are allowed."""

    model_config = ConfigDict(extra="allow", defer_build=True)


class ErrorAlone(JsonAnswer):
    """An error as Hugging Face's and Weaviate's clients expect it."""

    error: str
    code: str


def error_alone(error: Failure, request_id: str) -> Response:  # noqa: ARG001 - X-Request-Id has it
    """An error as {"error": "..."}."""
    status, shown, headers = told(error)
    body = {"error": shown.pop("detail")} | shown
    return Response(orjson.dumps(body), status.value, headers, "application/json")
