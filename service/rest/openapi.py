"""What /openapi.json says of the operations: statuses, media types, what a request needs, examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.utils import deep_dict_update
from pydantic import BaseModel

from service import errors
from service.application.requests import RequestLimits
from service.errors import ClipError
from service.rest import examples
from service.rest.errors import kinds, status_of_kind
from service.rest.json_body import IMAGE_FIELDS
from service.rest.schemas import (
    Alive,
    BulkFields,
    BulkLine,
    ClassifyFields,
    ClassifyResponse,
    EmbedFields,
    EmbedResponse,
    ModelList,
    NotReady,
    Problem,
    Ready,
    SimilarityFields,
    SimilarityResponse,
    TokenizeFields,
    TokenizeResponse,
)

Arguments = dict[str, Any]  # of a route's decorator

_BINARY = {"type": "string", "format": "binary"}
_IMAGES = {
    "type": "array",
    # JSON Schema has no format for "base64 or a data URI"; a name that it does not know is for readers only.
    "items": {"type": "string", "format": "image"},
    "description": "image files as base64 or as data URIs (data:image/jpeg;base64,...); URLs are not fetched",
}
_FILES = {"type": "array", "items": _BINARY, "description": "image files"}
_RAW = "The bytes of one image file. The other fields go into the query: ?labels=cat&labels=dog"

_HEADERS = {
    "X-Request-Id": {
        "description": "that of the request if it is 1 to 64 of A-Z a-z 0-9 . _ -, otherwise a new one",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Server-Timing": {
        "description": "milliseconds of the stages that the request went through",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "seconds until the service expects to have room",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "X-Model-Fingerprint": {
        "description": "the fingerprint, where the answer is an array and has no field for it",
        "schema": {"type": "string"},
    },
}

_EXPECT_FINGERPRINT = {
    "name": "X-Expect-Fingerprint",
    "in": "header",
    "description": "the same as the field expect_fingerprint, which counts where both are given",
    "schema": {"type": "string"},
}

# What any request may meet before an endpoint sees it, or instead of it.
_COMMON = (
    ClipError,
    errors.InvalidInput,
    errors.BodyTooLarge,
    errors.BodyTooSlow,
    errors.Overloaded,
    errors.DeadlineExceeded,
)


def complete(app: FastAPI, limits: RequestLimits, models: Sequence[str]) -> None:
    """Add to the application's document what several answers refer to, and what this server's requests may hold.

    `models`: the names of those served.
    """
    document = app.openapi()
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    document["components"]["headers"] = _HEADERS
    _describe_bulk(document["paths"]["/bulk"]["post"])
    for path, fields, image_fields, example in (
        ("/classify", ClassifyFields, ["images"], examples.TO_CLASSIFY),
        ("/embed", EmbedFields, ["images"], examples.TO_EMBED),
        ("/similarity", SimilarityFields, IMAGE_FIELDS, examples.TO_COMPARE),
        ("/tokenize", TokenizeFields, [], examples.TO_TOKENIZE),
    ):
        own = fields.model_json_schema()["properties"]
        for name, bounds in _bounds(limits).items():
            deep_dict_update(own.get(name, {}), bounds)
        own["model"]["anyOf"] = [{"type": "string", "enum": [*models]}, {"type": "null"}]
        operation = document["paths"][path]["post"]
        operation["requestBody"] = _body(own, image_fields, limits.max_images, example)
        operation["parameters"] = [_EXPECT_FINGERPRINT]


def _describe_bulk(operation: dict[str, Any]) -> None:
    """Its lines, and its fields in the query."""
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/x-ndjson": {
                "schema": {
                    "type": "string",
                    "description": "lines of JSON, each with `image` or `text`, and perhaps `id`",
                },
                "example": examples.LINES_IN,
            }
        },
    }
    operation["responses"]["200"]["content"] = {
        "application/x-ndjson": {"schema": {"type": "string"}, "example": examples.LINES_OUT}
    }
    properties = BulkFields.model_json_schema()["properties"]
    operation["parameters"] = [
        {"name": name, "in": "query", "description": schema["description"], "schema": _not_null(schema)}
        for name, schema in properties.items()
    ]


def _bounds(limits: RequestLimits) -> dict[str, dict[str, Any]]:
    label = {"maxLength": limits.max_label_chars}
    texts = {"maxItems": limits.max_texts, "items": {"maxLength": limits.max_text_chars}}
    return {
        "texts": texts,
        "to_texts": texts,
        "labels": {"maxItems": limits.max_labels, "items": label},
        "templates": {"maxItems": limits.max_templates, "items": label},
    }


def _operation(
    name: str,
    model: type[BaseModel],
    example: dict[str, Any],
    raised: Iterable[type[ClipError]] = _COMMON,
) -> Arguments:
    return {
        "operation_id": name,
        "response_model": model,
        "responses": {200: _success(example)} | _problems(raised),
    }


def _success(example: dict[str, Any]) -> dict[str, Any]:
    return {"headers": _refer("Server-Timing"), "content": {"application/json": {"example": example}}}


def _problems(raised: Iterable[type[ClipError]]) -> dict[int, dict[str, Any]]:
    by_status: dict[HTTPStatus, list[str]] = {}
    for kind in raised:
        by_status.setdefault(status_of_kind(kind), []).append(kind.code)
    return {int(status): _problem(status, by_status[status]) for status in sorted(by_status)}


def _problem(status: HTTPStatus, codes: list[str]) -> dict[str, Any]:
    example = {
        "type": f"urn:clipserve:error:{codes[0]}",
        "title": status.phrase,
        "status": status.value,
        "code": codes[0],
        "detail": "What was wrong, in a sentence.",
        "request_id": "4b0f6d6d3f1c4f0e9a3e5d7c2b1a0987",
    }
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}
    return {
        "description": f"{status.phrase}. Codes: {', '.join(codes)}.",
        "headers": _refer(*(["Retry-After"] if errors.Overloaded.code in codes else [])),
        "content": {"application/problem+json": content},
    }


def _refer(*headers: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *headers)}


def _body(
    own: dict[str, Any], image_fields: Sequence[str], max_images: int, example: dict[str, Any]
) -> dict[str, Any]:
    """The three forms of a request, all with the same fields: those of images, and its `own`."""
    form = {_singular(name) if name in _TEXTS else name: _not_null(schema) for name, schema in own.items()}
    images = {name: _IMAGES | {"maxItems": max_images} for name in image_fields}
    files = {_singular(name): _FILES | {"maxItems": max_images} for name in image_fields}
    content = {
        "application/json": {"schema": _object(images | own), "example": example},
        "multipart/form-data": {"schema": _object(files | form)},
    }
    if image_fields:
        content["image/*"] = {"schema": _BINARY | {"description": _RAW}}
    return {"required": True, "content": content}


_TEXTS = ("texts", "to_texts")


def _singular(name: str) -> str:
    return name.removesuffix("s")


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """At least one item on each side; where there are labels, images and labels."""
    items = {
        name for name in properties if name.removeprefix("to_").rstrip("s") in ("image", "label", "text")
    }
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if "labels" in items or len(items) == 1:
        needed = [name for name in properties if name in items]
        filled = {name: properties[name] | {"minItems": 1} for name in needed}
        return schema | {"properties": properties | filled, "required": needed}
    sides = [sorted(name for name in items if name.startswith("to_") == other) for other in (False, True)]
    one_of_each = [
        {"anyOf": [{"required": [name], "properties": {name: {"minItems": 1}}} for name in side]}
        for side in sides
        if side
    ]
    return schema | (one_of_each[0] if len(one_of_each) == 1 else {"allOf": one_of_each})


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A form has no null: the field is left out instead."""
    if {"type": "null"} not in schema.get("anyOf", []):
        return schema
    (kind,) = (kind for kind in schema["anyOf"] if kind != {"type": "null"})
    return {**{key: value for key, value in schema.items() if key not in ("anyOf", "default")}, **kind}


_NO_TEMPLATES = [kind for kind in kinds() if kind is not errors.BadPromptTemplate]
_NO_IMAGES = [
    kind
    for kind in _NO_TEMPLATES
    if kind not in (errors.UndecodableImage, errors.UnsupportedFormat, errors.ImageTooLarge)
]

CLASSIFY = _operation("classify", ClassifyResponse, examples.CLASSIFIED, kinds())
EMBED = _operation("embed", EmbedResponse, examples.EMBEDDED, _NO_TEMPLATES)
EMBED["responses"][200]["content"]["application/x-npy"] = {
    "schema": _BINARY | {"description": "one float32 array [N, D] in NumPy's file format"}
}
EMBED["responses"][200]["headers"] |= _refer("X-Model-Fingerprint")
SIMILARITY = _operation("similarity", SimilarityResponse, examples.COMPARED, _NO_TEMPLATES)
TOKENIZE = _operation("tokenize", TokenizeResponse, examples.TOKENIZED, _NO_IMAGES)
BULKS = _operation("bulk", BulkLine, {}, _NO_TEMPLATES)
MODELS = _operation("models", ModelList, examples.MODELS)
LIVEZ = _operation("livez", Alive, {"status": "alive"})
READYZ = _operation("readyz", Ready, {"status": "ready"})
READYZ["responses"][503] = _success({"status": "not ready"}) | {
    "description": "Not ready.",
    "model": NotReady,
}
