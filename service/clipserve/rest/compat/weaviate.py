"""The inference container of Weaviate's module multi2vec-clip: POST /vectorize, GET /meta and two probes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from clipserve.api.limits import RequestLimits
from clipserve.api.requests import EmbedRequest
from clipserve.application.answers import Embedding
from clipserve.application.body import Body
from clipserve.rest.compat.items import chosen, listed, shaped
from clipserve.rest.front import Front
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.rendering import json_response
from clipserve.rest.request import Request
from clipserve.rest.uploads import parse_object, validated


class _Items(BaseModel):
    """The module sends null for a list that it does not fill. Other fields are ignored."""

    model_config = ConfigDict(frozen=True)

    texts: list[str] | None = None
    images: list[str] | None = None


async def vectorize(front: Front, request: Request, body: Body) -> Response:
    asked = await front.parsed(parse_object, _read, request, body)
    answer = await front.inference.embed(asked, all_or_nothing=True)
    return await front.rendered(_rendered, answer)


async def _meta(front: Front, _: Request, __: Body) -> Response:
    first, *_others = await front.inference.models()
    fields = {
        "model": first.manifest.name,
        "fingerprint": first.fingerprint,
        "dimensions": first.manifest.embed_dim,
    }
    return json_response(fields)


async def _live(_: Front, __: Request, ___: Body) -> Response:
    return Response(status_code=204)


async def _ready(front: Front, _: Request, __: Body) -> Response:
    return Response(status_code=204 if await front.inference.ready() else 503)


PROBES = {"/meta": _meta, "/.well-known/live": _live, "/.well-known/ready": _ready}


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
