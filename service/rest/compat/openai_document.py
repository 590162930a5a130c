"""What /openapi.json says of POST /v1/embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.application.requests import RequestLimits
from service.rest.compat import schemas
from service.rest.compat.schemas import Schema
from service.rest.documented import NO_TEMPLATES, operation, refer
from service.rest.examples import PNG


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
    said = {"message": "What was wrong, in a sentence.", "type": kind, "param": None, "code": code}
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
    text, image = schemas.text(limits), schemas.IMAGE
    typed = [
        {"type": "object", "properties": {"text": text}, "required": ["text"]},
        {"type": "object", "properties": {"image": image}, "required": ["image"]},
    ]
    one = {"anyOf": [text, schemas.DATA_URI, *typed, schemas.part(limits)]}
    most = {"minItems": 1, "maxItems": limits.max_texts + limits.max_images}
    content = {
        "anyOf": [text, {"type": "array", "minItems": 1, "maxItems": 1, "items": schemas.part(limits)}]
    }
    message = {
        "type": "object",
        "properties": {"role": {"type": "string"}, "content": content},
        "required": ["content"],
    }
    properties = {
        "model": schemas.model(names),
        "input": {
            "anyOf": [one, {"type": "array", "items": one} | most],
            "description": f"one item or a list: texts (at most {limits.max_texts:,}) and images (at most "
            f"{limits.max_images:,}). A string is a text, or an image if it is a data URI",
        },
        "messages": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": message,
            "description": "in place of `input`: messages that hold one text or one image; gives one vector",
        },
        "modality": {
            "enum": ["text", "image", None],
            "description": "`image`: strings in `input` are base64",
        },
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
    schema = {
        "type": "object",
        "properties": properties,
        "oneOf": [{"required": ["input"]}, {"required": ["messages"]}],
    }
    return schemas.json_body(schema, _EXAMPLES)
