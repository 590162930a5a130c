"""The endpoints: parse, call, render. What a request means is decided by `Inference`."""

from __future__ import annotations

import functools

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
from service.rest.uploads import Upload, Uploads


def add_routes(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    """All endpoints. On the application itself: FastAPI takes longer to find one in a router."""

    # Limits are checked where the request is read, so that what is over one is freed there.

    def to_classify(upload: Upload) -> ClassifyRequest:
        asked = ClassifyRequest(upload.images, **dict(upload.read(ClassifyFields)))
        asked.check(inference.limits)
        return asked

    def to_embed(npy: bool, upload: Upload) -> tuple[EmbedRequest, str]:
        said = upload.read(EmbedFields)
        # An array has no place for the error of one item.
        asked = EmbedRequest(upload.images, said.texts, said.model, said.truncate, all_or_nothing=npy)
        asked.check(inference.limits)
        return asked, said.encoding_format

    @app.post("/classify", **CLASSIFY)
    async def classify(request: Request) -> Response:
        """Which of these labels fits the image? Scores for each image, best label first."""
        scored = await inference.classify(await uploads.read(request, to_classify))
        return await side.call(classification_json, scored, short=is_short(scored))

    @app.post("/embed", **EMBED)
    async def embed(request: Request) -> Response:
        """Vectors of unit length, of images and texts, in one space.

        `Accept: application/x-npy` gives one float32 array [N, D] in NumPy's file format instead of JSON.
        """
        npy = NPY in request.headers.get("accept", "")
        asked, encoding_format = await uploads.read(request, functools.partial(to_embed, npy))
        embedded = await inference.embed(asked)
        if npy:
            return await side.call(npy_array, embedded, short=is_short(embedded))
        return await side.call(embedding_json, embedded, encoding_format, short=is_short(embedded))

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
