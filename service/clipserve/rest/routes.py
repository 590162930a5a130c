"""The endpoints: parse, call `Inference`, render."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import is_short
from clipserve.application.encoder import ImageSource
from clipserve.application.encodings import EmbeddingType
from clipserve.application.inference import Inference
from clipserve.application.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.clip.template_sets import template_set
from clipserve.concurrency import SideThread
from clipserve.rest.json_body import IMAGE_FIELDS
from clipserve.rest.rendering import (
    NPY,
    classification_json,
    embedding_json,
    json_response,
    models_json,
    npy_array,
    similarity_json,
    template_set_json,
    template_sets_json,
    tokenization_json,
)
from clipserve.rest.schemas import ClassifyFields, EmbedFields, SimilarityFields, TokenizeFields
from clipserve.rest.uploads import Upload, Uploads, expected, header

BULK = "/bulk"


def add_routes(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    """Add all endpoints to the application itself: in a router FastAPI finds them more slowly."""

    def to_classify(request: Request, upload: Upload) -> ClassifyRequest:
        said = _fields(request, upload, ClassifyFields)
        return ClassifyRequest(_images(upload), **said).check(inference.limits)

    def to_embed(request: Request, upload: Upload) -> tuple[EmbedRequest, Vectors]:
        said = _fields(request, upload, EmbedFields)
        vectors = Vectors(_wants_npy(request), said.pop("encoding_format"), said.pop("embedding_type"))
        # An array has no place for an item's error.
        asked = EmbedRequest(_images(upload), all_or_nothing=vectors.npy, **said)
        return asked.check(inference.limits), vectors

    def to_compare(request: Request, upload: Upload) -> SimilarityRequest:
        said = _fields(request, upload, SimilarityFields, IMAGE_FIELDS)
        asked = SimilarityRequest(_images(upload), to_images=_images(upload, "to_images"), **said)
        return asked.check(inference.limits)

    def to_tokenize(request: Request, upload: Upload) -> TokenizeRequest:
        return TokenizeRequest(**_fields(request, upload, TokenizeFields, ())).check(inference.limits)

    @app.router.route("/classify", methods=["POST"])
    async def classify(request: Request) -> Response:
        scored = await inference.classify(await uploads.read(request, to_classify))
        return await side.call(classification_json, scored, short=is_short(scored))

    @app.router.route("/embed", methods=["POST"])
    async def embed(request: Request) -> Response:
        asked, vectors = await uploads.read(request, to_embed)
        embedded = await inference.embed(asked)
        short = is_short(embedded)
        if vectors.npy:
            return await side.call(npy_array, embedded, vectors.embedding_type, short=short)
        return await side.call(
            embedding_json, embedded, vectors.encoding_format, vectors.embedding_type, short=short
        )

    @app.router.route("/similarity", methods=["POST"])
    async def similarity(request: Request) -> Response:
        compared = await inference.similarity(await uploads.read(request, to_compare))
        return await side.call(similarity_json, compared, short=is_short(compared))

    @app.router.route("/tokenize", methods=["POST"])
    async def tokenize(request: Request) -> Response:
        tokenized = await inference.tokenize(await uploads.read(request, to_tokenize))
        return await side.call(tokenization_json, tokenized, short=is_short(tokenized))

    @app.router.route(BULK, methods=["POST"])
    async def bulk(_: Request) -> Response:
        raise NotImplementedError("`clipserve.rest.bulk` answers in place of this, which has its path")

    @app.router.route("/v1/models")
    async def models(_: Request) -> Response:
        return models_json(await inference.models())

    @app.router.route("/template-sets")
    async def list_template_sets(_: Request) -> Response:
        return template_sets_json()

    @app.router.route("/template-sets/{name}")
    async def get_template_set(request: Request) -> Response:
        return template_set_json(template_set(request.path_params["name"]))

    @app.router.route("/livez")
    async def livez(_: Request) -> Response:
        return json_response({"status": "alive"})

    @app.router.route("/readyz")
    async def readyz(_: Request) -> Response:
        ready = await inference.ready()
        return json_response({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


class Vectors(NamedTuple):
    """The form of vectors that the caller asks for."""

    npy: bool
    encoding_format: str
    embedding_type: EmbeddingType


def _fields(
    request: Request, upload: Upload, schema: type[BaseModel], image_fields: Sequence[str] = ("images",)
) -> dict[str, Any]:
    fields = vars(upload.read(schema, image_fields))
    return fields | {"expect_fingerprint": expected(request, fields["expect_fingerprint"])}


def _images(upload: Upload, name: str = "images") -> Sequence[ImageSource]:
    return upload.images.get(name, ())


def _wants_npy(request: Request) -> bool:
    return NPY in header(request, b"accept")
