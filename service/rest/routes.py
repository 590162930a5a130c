"""The endpoints: parse, call, render. What a request means is decided by `Inference`."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service.application.inference import Inference
from service.application.requests import ClassifyRequest, EmbedRequest
from service.concurrency import SideThread
from service.rest.openapi import CLASSIFY, EMBED, LIVEZ, MODELS, READYZ
from service.rest.rendering import (
    NPY,
    classification_json,
    embedding_json,
    is_short,
    json_response,
    models_json,
    npy_array,
)
from service.rest.schemas import ClassifyFields, EmbedFields
from service.rest.uploads import Uploads


def add_routes(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    """All endpoints. On the application itself: FastAPI takes longer to find one in a router."""

    @app.post("/classify", **CLASSIFY)
    async def classify(request: Request) -> Response:
        """Which of these labels fits the image? Scores for each image, best label first."""
        images, asked = await uploads.read(request, ClassifyFields)
        scored = await inference.classify(ClassifyRequest(images, **dict(asked)))
        return await side.call(classification_json, scored, short=is_short(scored))

    @app.post("/embed", **EMBED)
    async def embed(request: Request) -> Response:
        """Vectors of unit length, of images and texts, in one space.

        `Accept: application/x-npy` gives one float32 array [N, D] in NumPy's file format instead of JSON.
        """
        images, asked = await uploads.read(request, EmbedFields)
        npy = NPY in request.headers.get("accept", "")
        # An array has no place for the error of one item.
        asks = EmbedRequest(images, asked.texts, asked.model, asked.truncate, all_or_nothing=npy)
        embedded = await inference.embed(asks)
        if npy:
            return await side.call(npy_array, embedded, short=is_short(embedded))
        return await side.call(embedding_json, embedded, asked.encoding_format, short=is_short(embedded))

    @app.get("/v1/models", **MODELS)
    async def models(_: Request) -> Response:
        """The models served, and whether each is ready."""
        return models_json(await inference.models())

    @app.get("/livez", **LIVEZ)
    async def livez(_: Request) -> Response:
        """The process is alive. Restart it when this fails."""
        return json_response({"status": "alive"})

    @app.get("/readyz", **READYZ)
    async def readyz(_: Request) -> Response:
        """A request made now would be served. Send no traffic while this is 503."""
        ready = await inference.ready()
        return json_response({"status": "ready" if ready else "not ready"}, 200 if ready else 503)
