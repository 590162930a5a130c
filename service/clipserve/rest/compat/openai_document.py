"""What /openapi.json says of POST /v1/embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, Field

from clipserve.application.limits import RequestLimits
from clipserve.rest.compat import schemas
from clipserve.rest.compat.schemas import Schema
from clipserve.rest.documented import NO_TEMPLATES, operation, refer
from clipserve.rest.examples import PNG


class OpenAIVector(BaseModel):
    object: Literal["embedding"]
    index: int = Field(description="position in `input`")
    embedding: list[float] | str = Field(description="numbers, or base64 of little-endian float32")


class OpenAIUsage(BaseModel):
    prompt_tokens: int = Field(description="tokens of all texts, before any is cut; images count 0")
    total_tokens: int


class OpenAIEmbeddings(BaseModel):
    """Vectors in the order of `input`."""

    object: Literal["list"]
    data: list[OpenAIVector]
    model: str
    usage: OpenAIUsage


class OpenAIErrorFields(BaseModel):
    message: str
    type: str = Field(description="the kind of error, as OpenAI names it")
    param: str | None = Field(description="the field that is meant, where it is one")
    code: str = Field(description="stable: clients may branch on it")


class OpenAIError(BaseModel):
    """An error as OpenAI's clients expect it."""

    error: OpenAIErrorFields


def _error_content(status: HTTPStatus, code: str) -> dict[str, Any]:
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    said = {"message": "What was wrong, in a sentence.", "type": kind, "param": "input", "code": code}
    return {"model": OpenAIError, "content": {"application/json": {"example": {"error": said}}}}


_EXAMPLE = {
    "object": "list",
    "data": [
        {"object": "embedding", "index": 0, "embedding": [0.8, 0.6]},
        {"object": "embedding", "index": 1, "embedding": [0.6, 0.8]},
    ],
    "model": "demo",
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}
EMBEDDINGS = operation("openai_embeddings", OpenAIEmbeddings, _EXAMPLE, NO_TEMPLATES, _error_content)
EMBEDDINGS["responses"][200]["headers"] |= refer("X-Model-Fingerprint")

_URI = f"data:image/png;base64,{PNG}"
_MESSAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": _URI}}]}
_EXAMPLES: dict[str, Any] = {
    "a text and an image": {"input": ["a photo of a cat", _URI], "encoding_format": "float"},
    "images": {"input": [PNG], "modality": "image"},
    "typed items": {"input": [{"text": "a photo of a cat"}, {"image": PNG}]},
    "a message": {"messages": [_MESSAGE]},
}


def body_of(limits: RequestLimits, names: Sequence[str]) -> Schema:
    """The request, as `openapi_extra`."""
    properties = {
        "model": schemas.model(names),
        "encoding_format": {"enum": ["float", "base64", None]},
        "embedding_type": {"enum": ["float", "base64", None], "description": "the same, as Jina names it"},
        "dimensions": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "the model's own number, or an error: vectors are not cut",
        },
        "normalized": {"enum": [True, None], "description": "vectors always are"},
        "truncate": {
            "type": ["boolean", "null"],
            "description": "cut texts of too many tokens instead of refusing them",
        },
        "user": {"description": "ignored, as is every field that is not listed"},
    }
    schema = {"type": "object", "properties": properties, "oneOf": _inputs(limits)}
    return schemas.json_body(schema, _EXAMPLES)


def _inputs(limits: RequestLimits) -> list[Schema]:
    """`input` with texts as they are, `input` with bare base64, or `messages`."""
    text, image, part = schemas.text(limits), schemas.IMAGE, schemas.part(limits)
    typed = [
        {"type": "object", "properties": {"image": image}, "required": ["image"]},
        *part["anyOf"],
    ]
    contents = [text, {"type": "array", "minItems": 1, "maxItems": 1, "items": part}]
    message = {
        "type": "object",
        "properties": {"role": {"description": "any"}, "content": {"anyOf": contents}},
        "required": ["content"],
    }
    messages = {
        "type": "array",
        "minItems": 1,
        "maxItems": 1,
        "items": message,
        "description": "in place of `input`: messages that hold one text or one image; gives one vector",
    }
    mixed = _one_or_several(
        {"anyOf": [text, schemas.DATA_URI, *typed]},
        limits,
        "a text or an image, or a list of them. A string is a text, or an image if it is a data URI",
    )
    images = _one_or_several({"anyOf": [image, *typed]}, limits, "with modality `image`, strings are base64")
    of_texts = {"modality": {"enum": ["text", None]}, "input": mixed, "messages": {"type": "null"}}
    of_images = {"modality": {"const": "image"}, "input": images, "messages": {"type": "null"}}
    of_messages = {
        "messages": messages,
        "input": {"type": "null"},
        "modality": {"enum": ["text", "image", None]},
    }
    return [
        {"properties": of_texts, "required": ["input"]},
        {"properties": of_images, "required": ["input", "modality"]},
        {"properties": of_messages, "required": ["messages"]},
    ]


def _one_or_several(item: Schema, limits: RequestLimits, description: str) -> Schema:
    most = {"minItems": 1, "maxItems": limits.max_texts + limits.max_images}
    count = f". At most {limits.max_texts:,} texts and {limits.max_images:,} images."
    return {"anyOf": [item, {"type": "array", "items": item} | most], "description": description + count}
