"""The endpoints that ask a use case: read a request into a `Question`, ask it, render the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from clipserve.application.answers import Classification, Embedding, Similarities, Tokenization
from clipserve.application.body import Body
from clipserve.application.encoder import ImageSource
from clipserve.application.limits import RequestLimits
from clipserve.application.requests import ClassifyRequest, EmbedRequest, SimilarityRequest, TokenizeRequest
from clipserve.application.shared import Question, Shared, answered
from clipserve.rest.json_body import IMAGE_FIELDS
from clipserve.rest.paths import Endpoint
from clipserve.rest.rendering import (
    NPY,
    classification_json,
    embedding_json,
    npy_array,
    similarity_json,
    tokenization_json,
)
from clipserve.rest.schemas import ClassifyFields, EmbedFields, SimilarityFields, TokenizeFields
from clipserve.rest.uploads import Parse, Upload, expected, header, is_image, parse

# (request, its parsed body, limits) -> what to ask. It checks the request.
Read = Callable[[Request, Any, RequestLimits], Question[Any, Response]]


def asking(shared: Shared, max_json_bytes: int, read: Read, parse: Parse[Any] = parse) -> Endpoint:
    """The endpoint that reads a request, asks the use case and renders its answer.

    `parse`: reads the body. `max_json_bytes`: of JSON besides its images.
    """
    limits = shared.inference.limits

    def answer(request: Request) -> Awaitable[Response]:
        content_type = header(request, b"content-type")
        query: bytes = request.scope["query_string"]

        def parsed(body: Body) -> Question[Any, Response]:
            return read(request, parse(content_type, query, body, max_json_bytes), limits)

        size = len(query) if is_image(content_type) else None
        return answered(shared, request.scope["body"], parsed, size)

    return answer


def classify(request: Request, upload: Upload, limits: RequestLimits) -> Question[Classification, Response]:
    said = _fields(request, upload, ClassifyFields)
    asked = ClassifyRequest(_images(upload), **said).check(limits)
    return Question(lambda of: of.classify(asked), classification_json)


def embed(request: Request, upload: Upload, limits: RequestLimits) -> Question[Embedding, Response]:
    said = _fields(request, upload, EmbedFields)
    encoding_format, embedding_type = said.pop("encoding_format"), said.pop("embedding_type")
    npy = NPY in header(request, b"accept")
    # An array has no place for an item's error.
    asked = EmbedRequest(_images(upload), all_or_nothing=npy, **said).check(limits)
    if npy:
        return Question(lambda of: of.embed(asked), partial(npy_array, embedding_type=embedding_type))
    rendered = partial(embedding_json, encoding_format=encoding_format, embedding_type=embedding_type)
    return Question(lambda of: of.embed(asked), rendered)


def similarity(request: Request, upload: Upload, limits: RequestLimits) -> Question[Similarities, Response]:
    said = _fields(request, upload, SimilarityFields, IMAGE_FIELDS)
    asked = SimilarityRequest(_images(upload), to_images=_images(upload, "to_images"), **said).check(limits)
    return Question(lambda of: of.similarity(asked), similarity_json)


def tokenize(request: Request, upload: Upload, limits: RequestLimits) -> Question[Tokenization, Response]:
    asked = TokenizeRequest(**_fields(request, upload, TokenizeFields, ())).check(limits)
    return Question(lambda of: of.tokenize(asked), tokenization_json)


QUESTIONS: Mapping[str, Read] = {
    "/classify": classify,
    "/embed": embed,
    "/similarity": similarity,
    "/tokenize": tokenize,
}


def _fields(
    request: Request, upload: Upload, schema: type[BaseModel], image_fields: Sequence[str] = ("images",)
) -> dict[str, Any]:
    fields = vars(upload.read(schema, image_fields))
    return fields | {"expect_fingerprint": expected(request, fields["expect_fingerprint"])}


def _images(upload: Upload, name: str = "images") -> Sequence[ImageSource]:
    return upload.images.get(name, ())
