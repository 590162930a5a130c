"""The inference container of Weaviate's module multi2vec-clip: POST /vectorize, GET /meta and two probes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from clipserve.api.answers import Embeddings, ImageVector, TextVector
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.rest.compat.items import listed
from clipserve.rest.compat.shared import TAGS, EncodedImage, ErrorAlone, JsonAnswer, Text, chosen, shaped
from clipserve.rest.document import OF_FINGERPRINT, body_of, failures
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.rendering import json_response
from clipserve.rest.validating import validated

router = APIRouter(tags=[*TAGS])


class WeaviateRequest(BaseModel):
    """The module sends null for a list that it does not fill. Other fields are ignored."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "anyOf": [
                {"properties": {name: {"type": "array", "minItems": 1}}, "required": [name]}
                for name in ("texts", "images")
            ]
        },
    )

    texts: Annotated[list[Text], Field(json_schema_extra={"maxItems": "$max_texts"})] | None = None
    images: Annotated[list[EncodedImage], Field(json_schema_extra={"maxItems": "$max_images"})] | None = None


class WeaviateVectors(JsonAnswer):
    textVectors: list[list[float]]  # noqa: N815 - Weaviate's names
    imageVectors: list[list[float]]  # noqa: N815


class WeaviateModel(JsonAnswer):
    model: str
    fingerprint: str
    dimensions: int


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> EmbedRequest:
    for name in ("texts", "images"):
        listed(body.fields.get(name) or [], name)
    items = validated(WeaviateRequest, body.fields)
    images = items.images or []
    body.check_images(images)
    return EmbedRequest(
        [decode_base64(index, image) for index, image in enumerate(images)],
        items.texts or [],
        truncate=True,  # Weaviate's texts may have any length
        **chosen(request, None),
    ).check(limits)


@router.post(
    "/vectorize",
    summary="Return vectors of texts and images, as Weaviate's module multi2vec-clip expects.",
    response_model=WeaviateVectors,
    responses=failures(images=True, error=ErrorAlone) | OF_FINGERPRINT,
    openapi_extra=body_of(
        WeaviateRequest,
        {"texts": ["a photo of a cat"], "images": ["$png"]},
        {"texts": ["a photo of a cat"], "images": None},
    ),
)
async def weaviate_vectorize(
    request: Request, asked: Annotated[EmbedRequest, Depends(reading(parse_object, _read))]
) -> Response:
    service = service_of(request)
    return await service.rendered(_rendered, await service.inference.embed(asked, all_or_nothing=True))


def _rendered(embedded: Embeddings) -> Response:
    vectors: dict[str, list[object]] = {"textVectors": [], "imageVectors": []}
    for result in embedded.results:
        assert isinstance(result, ImageVector)  # an item's error is the request's
        vectors["textVectors" if isinstance(result, TextVector) else "imageVectors"].append(result.embedding)
    return shaped(vectors, embedded)


@router.get(
    "/meta",
    summary="Return the first model, which Weaviate shows among its modules.",
    response_model=WeaviateModel,
    responses=failures(),
)
async def weaviate_meta(request: Request) -> Response:
    first, *_others = await service_of(request).inference.models()
    fields = {
        "model": first.id,
        "fingerprint": first.fingerprint,
        "dimensions": first.embed_dim,
    }
    return json_response(fields)


@router.get(
    "/.well-known/live",
    summary="204 while the process is alive, as Weaviate expects.",
    status_code=204,
    responses=failures(open_=True),
    openapi_extra={"security": []},
)
async def weaviate_live() -> Response:
    return Response(status_code=204)


@router.get(
    "/.well-known/ready",
    summary="204 if every model is ready; Weaviate waits for this at its start.",
    status_code=204,
    responses=failures(open_=True) | {503: {"description": "Not ready."}},
    openapi_extra={"security": []},
)
async def weaviate_ready(request: Request) -> Response:
    return Response(status_code=204 if await service_of(request).inference.ready() else 503)
