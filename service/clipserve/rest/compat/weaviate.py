"""The inference container of Weaviate's module multi2vec-clip: POST /vectorize, GET /meta and two probes."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import Embedding
from clipserve.application.inference import Inference
from clipserve.application.limits import RequestLimits
from clipserve.application.requests import EmbedRequest
from clipserve.application.shared import Question
from clipserve.rest.compat.items import chosen, listed, shaped
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.rendering import json_response
from clipserve.rest.uploads import validated


class _Items(BaseModel):
    """The module sends null for a list that it does not fill. Other fields are ignored."""

    model_config = ConfigDict(frozen=True)

    texts: list[str] | None = None
    images: list[str] | None = None


def add_probes(app: FastAPI, inference: Inference) -> None:
    @app.router.route("/meta")
    async def meta(_: Request) -> Response:
        first, *_others = await inference.models()
        told = {
            "model": first.manifest.name,
            "fingerprint": first.fingerprint,
            "dimensions": first.manifest.embed_dim,
        }
        return json_response(told)

    @app.router.route("/.well-known/live")
    async def live(_: Request) -> Response:
        return Response(status_code=204)

    @app.router.route("/.well-known/ready")
    async def ready(_: Request) -> Response:
        return Response(status_code=204 if await inference.ready() else 503)


def read(request: Request, body: JsonObject, limits: RequestLimits) -> Question[Embedding, Response]:
    for name in ("texts", "images"):
        listed(body.fields.get(name) or [], name)
    said = validated(body.fields, _Items)
    images = said.images or []
    body.check_images(images)
    asked = EmbedRequest(
        [decode_base64(index, image) for index, image in enumerate(images)],
        said.texts or [],
        truncate=True,  # Weaviate's texts may have any length
        all_or_nothing=True,
        **chosen(request, None),
    ).check(limits)
    return Question(lambda of: of.embed(asked), _rendered)


def _rendered(embedded: Embedding) -> Response:
    vectors = {"textVectors": [text.vector for text in embedded.texts], "imageVectors": embedded.images}
    return shaped(vectors, embedded)
