"""The inference container of Weaviate's module multi2vec-clip: POST /vectorize, GET /meta and two probes."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from clipserve.api.answers import JsonAnswer
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.application.answers import Embedding
from clipserve.application.body import Body
from clipserve.rest.compat.items import listed
from clipserve.rest.compat.shared import OF_FINGERPRINT, EncodedImage, ErrorAlone, Text, chosen, shaped
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.rendering import json_response
from clipserve.rest.request import Request
from clipserve.rest.uploads import parse_object, validated


class _Items(BaseModel):
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


async def weaviate_vectorize(front: Front, request: Request, body: Body) -> Response:
    asked = await front.parsed(parse_object, _read, request, body)
    answer = await front.inference.embed(asked, all_or_nothing=True)
    return await front.rendered(_rendered, answer)


async def weaviate_meta(front: Front, _: Request, __: Body) -> Response:
    first, *_others = await front.inference.models()
    fields = {
        "model": first.manifest.name,
        "fingerprint": first.fingerprint,
        "dimensions": first.manifest.embed_dim,
    }
    return json_response(fields)


async def weaviate_live(_: Front, __: Request, ___: Body) -> Response:
    return Response(status_code=204)


async def weaviate_ready(front: Front, _: Request, __: Body) -> Response:
    return Response(status_code=204 if await front.inference.ready() else 503)


def _read(body: JsonObject, request: Request, limits: RequestLimits) -> EmbedRequest:
    for name in ("texts", "images"):
        listed(body.fields.get(name) or [], name)
    items = validated(_Items.model_validate, body.fields)
    images = items.images or []
    body.check_images(images)
    return EmbedRequest(
        [decode_base64(index, image) for index, image in enumerate(images)],
        items.texts or [],
        truncate=True,  # Weaviate's texts may have any length
        **chosen(request, None),
    ).check(limits)


def _rendered(embedded: Embedding) -> Response:
    vectors = {"textVectors": [text.vector for text in embedded.texts], "imageVectors": embedded.images}
    return shaped(vectors, embedded)


OPERATIONS = [
    Operation(
        "POST /vectorize",
        weaviate_vectorize,
        "Return vectors of texts and images, as Weaviate's module multi2vec-clip expects.",
        Answered(
            "The vectors, each list in the order of its items.",
            WeaviateVectors,
            {"textVectors": [[0.6, 0.8]], "imageVectors": [[0.8, 0.6]]},
            OF_FINGERPRINT,
        ),
        kind=_Items,
        examples={
            "both": {"texts": ["a photo of a cat"], "images": ["$png"]},
            "texts": {"texts": ["a photo of a cat"], "images": None},
        },
        error=ErrorAlone,
    ),
    Operation(
        "GET /meta",
        weaviate_meta,
        "Return the first model, which Weaviate shows among its modules.",
        Answered(
            "The model.",
            WeaviateModel,
            {"model": "$first_model", "fingerprint": "$first_model@fp32-0123456789ab", "dimensions": 2},
        ),
    ),
    Operation(
        "GET /.well-known/live",
        weaviate_live,
        "204 while the process is alive, as Weaviate expects.",
        {204: Answered("Alive.")},
        open=True,
    ),
    Operation(
        "GET /.well-known/ready",
        weaviate_ready,
        "204 if every model is ready; Weaviate waits for this at its start.",
        {204: Answered("Ready."), 503: Answered("Not ready.")},
        open=True,
    ),
]
