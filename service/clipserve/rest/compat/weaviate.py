"""The inference container of Weaviate's module multi2vec-clip: POST /vectorize, GET /meta and two probes."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import Embedding, is_short
from clipserve.application.inference import Inference
from clipserve.application.limits import RequestLimits
from clipserve.application.requests import EmbedRequest
from clipserve.concurrency import SideThread
from clipserve.rest.compat.items import chosen, listed, shaped
from clipserve.rest.json_body import JsonObject, decode_base64
from clipserve.rest.rendering import json_response
from clipserve.rest.uploads import Uploads, validated

PATH = "/vectorize"


class _Items(BaseModel):
    """The module sends null for a list that it does not fill. Other fields are ignored."""

    model_config = ConfigDict(frozen=True)

    texts: list[str] | None = None
    images: list[str] | None = None


def add_weaviate(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    @app.router.route(PATH, methods=["POST"])
    async def vectorize(request: Request) -> Response:
        embedded = await inference.embed(
            await uploads.read_json(request, lambda body: _read(request, body, inference.limits))
        )
        return await side.call(_rendered, embedded, short=is_short(embedded))

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


def _read(request: Request, body: JsonObject, limits: RequestLimits) -> EmbedRequest:
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
    )
    asked.check(limits)
    return asked


def _rendered(embedded: Embedding) -> Response:
    vectors = {"textVectors": [text.vector for text in embedded.texts], "imageVectors": embedded.images}
    return shaped(vectors, embedded)
