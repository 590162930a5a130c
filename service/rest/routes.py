"""The endpoints: parse, call, render. What a request means is decided behind `InferenceService`."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service.application.inference import (
    Classification,
    ClassifyRequest,
    Embedding,
    EmbedRequest,
    InferenceService,
    ModelState,
    ScoredLabel,
)
from service.engine.backend import Vector
from service.errors import ClipError
from service.rest.errors import fields
from service.rest.openapi import CLASSIFY, EMBED, LIVEZ, MODELS, READYZ
from service.rest.schemas import ClassifyFields, EmbedFields
from service.rest.uploads import read_upload

_NPY = "application/x-npy"


def add_routes(app: FastAPI, service: InferenceService, max_json_bytes: int) -> None:
    """All endpoints of one service. On the application itself: FastAPI takes longer to find one in a router."""

    @app.post("/classify", **CLASSIFY)
    async def classify(request: Request) -> Response:
        """Which of these labels fits the image? Scores for each image, best label first."""
        upload = await read_upload(request, max_json_bytes)
        asked = upload.read(ClassifyFields)
        return _classification(await service.classify(ClassifyRequest(upload.images, **dict(asked))))

    @app.post("/embed", **EMBED)
    async def embed(request: Request) -> Response:
        """Vectors of unit length, of images and texts, in one space.

        `Accept: application/x-npy` gives one float32 array [N, D] in NumPy's file format instead of JSON.
        """
        upload = await read_upload(request, max_json_bytes)
        asked = upload.read(EmbedFields)
        embedding = await service.embed(EmbedRequest(upload.images, asked.texts, asked.model, asked.truncate))
        if _NPY in request.headers.get("accept", ""):
            return _npy(embedding)
        return _embedding(embedding, asked.encoding_format)

    @app.get("/v1/models", **MODELS)
    async def models(_: Request) -> Response:
        """The models served, and whether each is ready."""
        return _json({"object": "list", "data": [_model(state) for state in await service.models()]})

    @app.get("/livez", **LIVEZ)
    async def livez(_: Request) -> Response:
        """The process is alive. Restart it when this fails."""
        return _json({"status": "alive"})

    @app.get("/readyz", **READYZ)
    async def readyz(_: Request) -> Response:
        """A request made now would be served. Send no traffic while this is 503."""
        ready = await service.ready()
        return _json({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


def _classification(answer: Classification) -> Response:
    body = _heading(answer) | {"results": [_labels(result) for result in _some(answer.results)]}
    if answer.truncated_labels:
        body["truncated_labels"] = answer.truncated_labels
    return _json(body)


def _labels(result: list[ScoredLabel] | ClipError) -> dict[str, Any]:
    return {"error": fields(result)} if isinstance(result, ClipError) else {"labels": result}


def _embedding(answer: Embedding, encoding_format: str) -> Response:
    results: list[dict[str, Any]] = [
        {"error": fields(vector)}
        if isinstance(vector, ClipError)
        else {"embedding": _encoded(vector, encoding_format)}
        for vector in (answer.images if answer.texts else _some(answer.images))
    ]
    for text in answer.texts:
        vector = _encoded(text.vector, encoding_format)
        results.append({"embedding": vector, "tokens": text.tokens, "truncated": text.truncated})
    return _json(_heading(answer) | {"results": results})


def _encoded(vector: Vector, encoding_format: str) -> Any:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return np.ascontiguousarray(vector)


def _npy(answer: Embedding) -> Response:
    """An array has no place for an item's error: the first one fails the request."""
    vectors = []
    for vector in answer.images:
        if isinstance(vector, ClipError):
            raise vector
        vectors.append(vector)
    vectors.extend(text.vector for text in answer.texts)
    file = io.BytesIO()
    np.save(file, np.stack(vectors).astype("<f4"), allow_pickle=False)
    headers = {"X-Model-Fingerprint": answer.fingerprint}
    return Response(file.getvalue(), 200, headers, _NPY)


def _some(results: list[Any]) -> list[Any]:
    """Errors of single items are results among others; when nothing else is there, the request failed."""
    if results and all(isinstance(result, ClipError) for result in results):
        raise results[0]
    return results


def _heading(answer: Classification | Embedding) -> dict[str, Any]:
    return {"model": answer.model, "fingerprint": answer.fingerprint}


def _model(state: ModelState) -> dict[str, Any]:
    manifest = state.manifest
    return {
        "id": manifest.name,
        "object": "model",
        "ready": state.ready,
        "fingerprint": state.fingerprint,
        "embed_dim": manifest.embed_dim,
        "image_size": manifest.image.size,
        "context_length": manifest.text.context_length,
        "scoring": manifest.scoring.function,
        "logit_scale": manifest.scoring.logit_scale,
        "logit_bias": manifest.scoring.logit_bias,
        "prompt_templates": manifest.prompt_templates,
        "precision": manifest.precision,
        "checkpoint": manifest.source.checkpoint,
        "licence": manifest.source.licence,
        "random_weights": manifest.source.random_weights,
    }


def _json(body: Any, status: int = 200) -> Response:
    return Response(
        orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json"
    )
