"""The endpoints: parse, call, render. What a request means is decided by `Inference`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import is_short
from clipserve.application.encoder import ImageInput
from clipserve.application.encodings import EmbeddingType
from clipserve.application.inference import Inference
from clipserve.application.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.application.template_sets import template_set, template_sets
from clipserve.concurrency import SideThread
from clipserve.rest.classify_schemas import ClassifyFields
from clipserve.rest.json_body import IMAGE_FIELDS
from clipserve.rest.openapi import (
    BULKS,
    CLASSIFY,
    EMBED,
    LIVEZ,
    MODELS,
    READYZ,
    SIMILARITY,
    TEMPLATE_SET,
    TEMPLATE_SETS,
    TOKENIZE,
)
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
from clipserve.rest.schemas import EmbedFields, SimilarityFields, TokenizeFields
from clipserve.rest.uploads import Upload, Uploads

BULK = "/bulk"


def add_routes(app: FastAPI, inference: Inference, uploads: Uploads, side: SideThread) -> None:
    """All endpoints. On the application itself: FastAPI takes longer to find one in a router."""

    def to_classify(request: Request, upload: Upload) -> ClassifyRequest:
        said = _fields(request, upload, ClassifyFields)
        return ClassifyRequest(_images(upload), **said).check(inference.limits)

    def to_embed(request: Request, upload: Upload) -> tuple[EmbedRequest, Vectors]:
        said = _fields(request, upload, EmbedFields)
        vectors = Vectors(_wants_npy(request), said.pop("encoding_format"), said.pop("embedding_type"))
        # An array has no place for the error of one item.
        asked = EmbedRequest(_images(upload), all_or_nothing=vectors.npy, **said)
        return asked.check(inference.limits), vectors

    def to_compare(request: Request, upload: Upload) -> SimilarityRequest:
        said = _fields(request, upload, SimilarityFields, IMAGE_FIELDS)
        asked = SimilarityRequest(_images(upload), to_images=_images(upload, "to_images"), **said)
        return asked.check(inference.limits)

    def to_tokenize(request: Request, upload: Upload) -> TokenizeRequest:
        return TokenizeRequest(**_fields(request, upload, TokenizeFields, ())).check(inference.limits)

    @app.post("/classify", **CLASSIFY)
    async def classify(request: Request) -> Response:
        """Which of these labels fits the image? Scores for each image, best label first."""
        scored = await inference.classify(await uploads.read(request, to_classify))
        return await side.call(classification_json, scored, short=is_short(scored))

    @app.post("/embed", **EMBED)
    async def embed(request: Request) -> Response:
        """Vectors of unit length, of images and texts, in one space.

        `Accept: application/x-npy` gives one array [N, D] in NumPy's file format instead of JSON.
        """
        asked, vectors = await uploads.read(request, to_embed)
        embedded = await inference.embed(asked)
        short = is_short(embedded)
        if vectors.npy:
            return await side.call(npy_array, embedded, vectors.embedding_type, short=short)
        return await side.call(
            embedding_json, embedded, vectors.encoding_format, vectors.embedding_type, short=short
        )

    @app.post("/similarity", **SIMILARITY)
    async def similarity(request: Request) -> Response:
        """How alike are these images and texts, each beside each of those? Cosines, and the model's own logits."""
        compared = await inference.similarity(await uploads.read(request, to_compare))
        return await side.call(similarity_json, compared, short=is_short(compared))

    @app.post("/tokenize", **TOKENIZE)
    async def tokenize(request: Request) -> Response:
        """The tokens that texts become, and whether they would be cut."""
        tokenized = await inference.tokenize(await uploads.read(request, to_tokenize))
        return await side.call(tokenization_json, tokenized, short=is_short(tokenized))

    @app.post(BULK, **BULKS)
    async def bulk(_: Request) -> Response:
        """A vector for each line, an image or a text, while they arrive; other requests come first.

        The fields go into the query. Clients that read nothing before they have sent everything must send little.
        """
        raise NotImplementedError("`clipserve.rest.bulk` answers in place of this, which is for the document")

    @app.get("/v1/models", **MODELS)
    async def models(_: Request) -> Response:
        """The models served, and whether each is ready."""
        return models_json(await inference.models())

    @app.get("/template-sets", **TEMPLATE_SETS)
    async def list_template_sets(_: Request) -> Response:
        """The prompt templates that have a name, most of them published for a data set."""
        return template_sets_json(template_sets())

    @app.get("/template-sets/{name}", **TEMPLATE_SET)
    async def get_template_set(request: Request) -> Response:
        """One template set, with the class names of its data set."""
        return template_set_json(template_set(request.path_params["name"]))

    @app.get("/livez", **LIVEZ)
    async def livez(_: Request) -> Response:
        """The process is alive. Restart it when this fails."""
        return json_response({"status": "alive"})

    @app.get("/readyz", **READYZ)
    async def readyz(_: Request) -> Response:
        """A request made now would be served. Send no traffic while this is 503."""
        ready = await inference.ready()
        return json_response({"status": "ready" if ready else "not ready"}, 200 if ready else 503)


@dataclass(frozen=True)
class Vectors:
    """How the caller wants them."""

    npy: bool
    encoding_format: str
    embedding_type: EmbeddingType


def _fields(
    request: Request, upload: Upload, schema: type[BaseModel], image_fields: Sequence[str] = ("images",)
) -> dict[str, Any]:
    fields = dict(upload.read(schema, image_fields))
    if not fields["expect_fingerprint"]:
        fields["expect_fingerprint"] = request.headers.get("x-expect-fingerprint")
    return fields


def _images(upload: Upload, name: str = "images") -> Sequence[ImageInput]:
    return upload.images.get(name, ())


def _wants_npy(request: Request) -> bool:
    return NPY in request.headers.get("accept", "")
