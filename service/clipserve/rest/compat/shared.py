"""What adapters share: fields of requests, and answers that have no field for the model's fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response

from clipserve.api.answers import JsonAnswer
from clipserve.api.fields import ModelName, whole
from clipserve.application.answers import Classification, Embedding, Similarities
from clipserve.rest.errors import Failure, told
from clipserve.rest.rendering import json_response
from clipserve.rest.request import Request
from clipserve.rest.schemas import named
from clipserve.rest.uploads import expected, validated

Dimensions = Annotated[
    int,
    Field(ge=1, description="must be the model's own number: vectors are not shortened"),
    BeforeValidator(whole),
]
Ignored = Annotated[object, Field(description="ignored, as is every field that is not listed")]
Text = Annotated[str, WithJsonSchema(named("Text"))]
EncodedImage = Annotated[str, WithJsonSchema(named("EncodedImage"))]
OF_FINGERPRINT = ["X-Model-Fingerprint"]  # the headers of an answer


class Options(BaseModel):
    """The fields of a request beside its items. Fields of other names are ignored."""

    model_config = ConfigDict(frozen=True)

    model: ModelName | None = None

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """Raises InvalidInput: a field is invalid; the message names it."""
        return validated(cls.model_validate, fields)


def one_of(**schemas: str) -> ConfigDict:
    """One of these fields is given, by a schema of `document/common.json`, and the others are not."""
    absent = {field: {"type": "null"} for field in schemas}
    given: list[Any] = [
        {"properties": {**absent, field: named(schema)}, "required": [field]}
        for field, schema in schemas.items()
    ]
    return ConfigDict(json_schema_extra={"oneOf": given})


def chosen(request: Request, model: str | None) -> dict[str, Any]:
    """The fields of `Choice` for a request."""
    return {"model": model, "expect_fingerprint": expected(request)}


def shaped(
    body: object,
    answer: Classification | Embedding | Similarities,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer without a field for the model's fingerprint, which a header has, beside other `headers`."""
    return json_response(body, headers={"X-Model-Fingerprint": answer.fingerprint, **(headers or {})})


class ErrorAlone(JsonAnswer):
    """An error as Hugging Face's and Weaviate's clients expect it."""

    error: str
    code: str


def error_alone(error: Failure, request_id: str) -> Response:  # noqa: ARG001 - X-Request-Id has it
    """An error as {"error": "..."}."""
    status, shown, headers = told(error)
    body = {"error": shown.pop("detail")} | shown
    return Response(orjson.dumps(body), status.value, headers, "application/json")
