"""The inference container of Weaviate's module multi2vec-clip: POST /vectorize, GET /meta and two probes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from clipserve.api.answers import Embeddings, ImageVector, TextVector
from clipserve.api.fields import Strings
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.application.shared import rendered
from clipserve.rest.compat.shared import adapter_router, chosen, example_of, shaped
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.reading import parse_object, reading, service_of
from clipserve.rest.rendering import json_response
from clipserve.rest.validating import validated

router = adapter_router()


class WeaviateRequest(BaseModel):
    """The module sends null for a list that it does not fill. Other fields are ignored."""

    texts: Strings | None = None
    images: Strings | None = None


def _read(fields: JsonObject, request: Request, limits: RequestLimits) -> EmbedRequest:
    asked = validated(WeaviateRequest, fields)
    images = [decode_base64(index, image) for index, image in enumerate(asked.images or ())]
    # Weaviate's texts may have any length.
    return EmbedRequest(images, asked.texts or (), truncate=True, **chosen(request, None)).check(limits)


@router.post(
    "/vectorize",
    summary="Return vectors of texts and images, as Weaviate's module multi2vec-clip expects.",
    openapi_extra=example_of({"texts": ["a photo of a cat"], "images": ["$png"]}),
)
async def weaviate_vectorize(
    request: Request, asked: Annotated[EmbedRequest, Depends(reading(parse_object, _read))]
) -> Response:
    return await rendered(_rendered, await service_of(request).inference.embed(asked, all_or_nothing=True))


def _rendered(embedded: Embeddings) -> Response:
    vectors: dict[str, list[object]] = {"textVectors": [], "imageVectors": []}
    for result in embedded.results:
        assert isinstance(result, ImageVector)  # an item's error is the request's
        vectors["textVectors" if isinstance(result, TextVector) else "imageVectors"].append(result.embedding)
    return shaped(vectors, embedded)


@router.get("/meta", summary="Return the first model, which Weaviate shows among its modules.")
async def weaviate_meta(request: Request) -> Response:
    first, *_others = await service_of(request).inference.models()
    return json_response({"model": first.id, "fingerprint": first.fingerprint, "dimensions": first.embed_dim})


@router.get(
    "/.well-known/live",
    summary="204 while the process is alive, as Weaviate expects.",
    status_code=204,
    openapi_extra={"security": []},
)
async def weaviate_live() -> Response:
    return Response(status_code=204)


@router.get(
    "/.well-known/ready",
    summary="204 if every model is ready; Weaviate waits for this at its start.",
    status_code=204,
    openapi_extra={"security": []},
)
async def weaviate_ready(request: Request) -> Response:
    return Response(status_code=204 if await service_of(request).inference.ready() else 503)
