"""The service's own API: each handler reads a request, asks, and renders the answer."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from clipserve.api import answers, sets, states
from clipserve.api.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.application.answers import listed_template_set
from clipserve.application.answers import template_set as shown_template_set
from clipserve.application.shared import rendered
from clipserve.clip.template_sets import TEMPLATE_SETS, template_set
from clipserve.rest.document import ERRORS, Json, body_of
from clipserve.rest.reading import header, reads, service_of
from clipserve.rest.rendering import NPY, embedding_response, json_response

operation_id = attrgetter("name")  # of a route: in the OpenAPI document, and of methods of generated clients
router = APIRouter(tags=["images and texts"], responses=ERRORS, generate_unique_id_function=operation_id)
template_sets = APIRouter(tags=["template sets"], responses=ERRORS)
operations = APIRouter(tags=["operations"], responses=ERRORS)

_ARRAY = "one array: [N, D] of float32, float16 or int8, or [N, D / 8] of bits, as `embedding_type` says"
_VECTORS: Json = {
    "headers": {"X-Model-Fingerprint": {"description": "of an array", "schema": {"type": "string"}}},
    "content": {NPY: {"schema": {"type": "string", "format": "binary", "description": _ARRAY}}},
}
_PRIORITY = {
    "name": "X-Priority",
    "in": "header",
    "description": "`bulk`: it comes behind all others, and waits for the rate of its key",
    "schema": {"type": "string", "examples": ["bulk"]},
}
_EMBED = body_of(
    EmbedRequest,
    {"images": ["$png"], "texts": ["a photo of a cat"]},
    form=True,
    beside_image="text=a+cat&encoding_format=base64",
)

# Called by the handlers: as a dependency of FastAPI each would cost a request fifty calls of Python more.
_read_embed, _read_classify = reads(EmbedRequest), reads(ClassifyRequest)
_read_similarity, _read_tokenize = reads(SimilarityRequest), reads(TokenizeRequest)


@router.post(
    "/embed",
    summary="Return vectors of images and texts, of unit length, in one space.",
    description=f"With `Accept: {NPY}` the answer is one array in NumPy's file format, not JSON.",
    response_model=answers.Embeddings,
    responses={200: _VECTORS},
    openapi_extra=_EMBED | {"parameters": [*_EMBED["parameters"], _PRIORITY]},
)
async def embed(request: Request) -> Response:
    asked = await _read_embed(request)
    accept = header(request, b"accept")
    answer = await service_of(request).inference.embed(asked, all_or_nothing=NPY in accept)
    return await rendered(embedding_response, answer, asked.encoding_format, accept)


@router.post(
    "/classify",
    summary="Score labels by how well they fit each image, best label first.",
    response_model=answers.Classification,
    openapi_extra=body_of(
        ClassifyRequest,
        {"images": ["$png"], "labels": ["cat", "dog"]},
        form=True,
        beside_image="labels=cat&labels=dog",
    ),
)
async def classify(request: Request) -> Response:
    asked = await _read_classify(request)
    return await rendered(json_response, await service_of(request).inference.classify(asked))


@router.post(
    "/similarity",
    summary="Compare each of some images and texts with each of others: cosine and logit of each pair.",
    response_model=answers.Similarities,
    openapi_extra=body_of(
        SimilarityRequest,
        {"images": ["$png"], "to_texts": ["a photo of a cat", "a photo of a dog"]},
        form=True,
        beside_image="to_text=a+cat&to_text=a+dog",
    ),
)
async def similarity(request: Request) -> Response:
    asked = await _read_similarity(request)
    return await rendered(json_response, await service_of(request).inference.similarity(asked))


@router.post(
    "/tokenize",
    summary="Return the tokens of texts, and whether a text would be cut.",
    response_model=answers.Tokenization,
    openapi_extra=body_of(TokenizeRequest, {"texts": ["a photo of a cat"]}, form=True),
)
async def tokenize(request: Request) -> Response:
    asked = await _read_tokenize(request)
    return await rendered(json_response, await service_of(request).inference.tokenize(asked))


@template_sets.get(
    "/template-sets",
    name="template_sets",
    summary="List the template sets. Most were published for a data set.",
    response_model=sets.TemplateSetList,
)
async def list_template_sets() -> Response:
    return json_response({"template_sets": [*map(listed_template_set, TEMPLATE_SETS.values())]})


@template_sets.get(
    "/template-sets/{name}",
    name="template_set",
    summary="Return one template set, with the class names of its data set.",
    response_model=sets.TemplateSet,
)
async def get_template_set(
    name: Annotated[str, Path(json_schema_extra={"enum": list(TEMPLATE_SETS)})],
) -> Response:
    return json_response(shown_template_set(template_set(name)))


@operations.get(
    "/v1/models",
    summary="List the models, and whether each is ready.",
    response_model=states.ModelList,
)
async def models(request: Request) -> Response:
    return json_response({"object": "list", "data": await service_of(request).inference.models()})


@operations.get(
    "/livez",
    summary="200 while the process is alive. Restart it when this fails.",
    response_model=states.Status,
    openapi_extra={"security": []},
)
async def livez() -> Response:
    return json_response({"status": "alive"})


@operations.get(
    "/readyz",
    summary="200 if the service would serve a request now. Send it no traffic while this is 503.",
    response_model=states.Status,
    responses={503: {"model": states.Status, "description": "Not ready."}},
    openapi_extra={"security": []},
)
async def readyz(request: Request) -> Response:
    ready = await service_of(request).inference.ready()
    return json_response({"status": "ready" if ready else "not ready"}, 200 if ready else 503)
