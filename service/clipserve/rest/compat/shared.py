"""What adapters share: their router, fields of their requests, and answers without a field for the fingerprint."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, Field
from starlette.requests import Request
from starlette.responses import Response

from clipserve.api.answers import OfModel
from clipserve.api.fields import ModelName, whole
from clipserve.rest.document import Json
from clipserve.rest.errors import Failure, told
from clipserve.rest.reading import JSON, expected
from clipserve.rest.rendering import json_response

Dimensions = Annotated[int, Field(ge=1), BeforeValidator(whole)]


class Options(BaseModel):
    """The fields of a request beside its items. Fields of other names are ignored."""

    model: ModelName | None = None


def adapter_router() -> APIRouter:
    """/openapi.json has its paths; of their bodies and answers it says no more than the other server's document."""
    as_elsewhere = "An answer or an error in the form that the other server's clients expect."
    return APIRouter(tags=["clients of other servers"], responses={"default": {"description": as_elsewhere}})


def example_of(body: object, media_type: str = JSON) -> Json:
    """The `openapi_extra` of an adapter's route that reads a body such as this."""
    content = {media_type: {"schema": {"type": "object"}, "example": body}}
    return {"requestBody": {"required": True, "content": content}}


def chosen(request: Request, model: str | None) -> dict[str, Any]:
    """The fields of `Choice` for a request."""
    return {"model": model, "expect_fingerprint": expected(request)}


def shaped(body: object, answer: OfModel) -> Response:
    """An answer without a field for the model's fingerprint, which a header has."""
    return json_response(body, headers={"X-Model-Fingerprint": answer.fingerprint})


def error_alone(error: Failure, request_id: str) -> Response:  # noqa: ARG001 - X-Request-Id has it
    """An error as {"error": "..."}, for clients of Hugging Face and Weaviate."""
    status, shown, headers = told(error)
    body = {"error": shown.pop("detail")} | shown
    return Response(orjson.dumps(body), status.value, headers, "application/json")
