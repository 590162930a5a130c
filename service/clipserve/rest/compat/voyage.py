"""POST /v1/multimodalembeddings of Voyage's API; its texts alone go to /v1/embeddings, as OpenAI's do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field, WithJsonSchema
from starlette.responses import Response

from clipserve.api.answers import Embeddings
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.rest.compat.items import Asked, asked_for, items_of, message
from clipserve.rest.compat.openai import OpenAIVector, openai_vectors
from clipserve.rest.compat.shared import (
    MESSAGE,
    TAGS,
    Dimensions,
    Ignored,
    JsonAnswer,
    Options,
    list_of,
    shaped,
)
from clipserve.rest.document import OF_FINGERPRINT, body_of, failures
from clipserve.rest.json_body import JsonObject
from clipserve.rest.reading import parse_object, reading, service_of

router = APIRouter(tags=[*TAGS])

_URI = "data:image/png;base64,$png"


class VoyageEmbedRequest(Options):
    inputs: Annotated[list[Any], WithJsonSchema(list_of(MESSAGE, "$max_images"))]
    input_type: Ignored = None
    truncation: Annotated[bool, Field(description="cut texts of too many tokens; false refuses them")] = True
    output_dimension: Dimensions | None = None
    output_dtype: Literal["float"] | None = None
    output_encoding: Literal["base64"] | None = None


_Asked = Asked[EmbedRequest, VoyageEmbedRequest]


class VoyageUsage(JsonAnswer):
    text_tokens: int
    image_pixels: Annotated[int, Field(description="always 0: pixels are not billed")]
    video_pixels: int
    total_tokens: int


class VoyageEmbeddings(JsonAnswer):
    """Vectors in the order of `inputs`."""

    object: Literal["list"]
    data: list[OpenAIVector]
    model: str
    usage: VoyageUsage


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> _Asked:
    items = items_of(body.fields.get("inputs"), "inputs", message)
    options = VoyageEmbedRequest.of(body.fields)
    return asked_for(body, request, limits, items, options, truncate=options.truncation)


@router.post(
    "/v1/multimodalembeddings",
    summary="Return vectors of inputs with one text or one image each, as Voyage's clients expect.",
    response_model=VoyageEmbeddings,
    responses=failures(images=True) | OF_FINGERPRINT,
    openapi_extra=body_of(
        VoyageEmbedRequest,
        {"inputs": [{"content": [{"type": "text", "text": "a photo of a cat"}]}]},
        {"inputs": [{"content": [{"type": "image_base64", "image_base64": _URI}]}]},
    ),
)
async def voyage_embeddings(
    request: Request, asked: Annotated[_Asked, Depends(reading(parse_object, _read))]
) -> Response:
    service = service_of(request)
    answer = await asked.embed(service.inference, asked.options.output_dimension)
    return await service.rendered(_rendered, answer, asked)


def _rendered(answer: Embeddings, asked: _Asked) -> Response:
    results = asked.results(answer)
    tokens = sum(result.tokens for result in results)
    usage = {"text_tokens": tokens, "image_pixels": 0, "video_pixels": 0, "total_tokens": tokens}
    data = openai_vectors(results, asked.options.output_encoding or "float")
    shown = {"object": "list", "data": data, "model": answer.model, "usage": usage}
    return shaped(shown, answer)
