"""What /openapi.json says of the operations: statuses, media types, what a request needs, examples."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.utils import deep_dict_update
from starlette.routing import BaseRoute

from clipserve.application.limits import RequestLimits
from clipserve.application.template_sets import template_sets
from clipserve.errors import UnknownTemplateSet
from clipserve.rest import examples
from clipserve.rest.classify_schemas import ClassifyFields, ClassifyResponse
from clipserve.rest.documented import (
    CLASSIFYING,
    EXPECT_FINGERPRINT,
    HEADERS,
    KEYED,
    NO_IMAGES,
    NO_TEMPLATES,
    operation,
    refer,
    success,
)
from clipserve.rest.json_body import IMAGE_FIELDS
from clipserve.rest.schemas import (
    Alive,
    BulkFields,
    BulkLine,
    EmbedFields,
    EmbedResponse,
    ModelList,
    NotReady,
    Problem,
    Ready,
    SimilarityFields,
    SimilarityResponse,
    TemplateSetInfo,
    TemplateSetList,
    TokenizeFields,
    TokenizeResponse,
)

_BINARY = {"type": "string", "format": "binary"}
_IMAGES = {
    "type": "array",
    # JSON Schema has no format for "base64 or a data URI"; a name that it does not know is for readers only.
    "items": {"type": "string", "format": "image"},
    "description": "image files as base64 or as data URIs (data:image/jpeg;base64,...); URLs are not fetched",
}
_FILES = {"type": "array", "items": _BINARY, "description": "image files"}
_RAW = "The bytes of one image file. The other fields go into the query: ?labels=cat&labels=dog"

_TEMPLATE_SET_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "enum": [each.name for each in template_sets()]},
}


def described(app: FastAPI, limits: RequestLimits, models: Sequence[str]) -> dict[str, Any]:
    """The document of an application: its routes, what several answers refer to, what its requests may hold.

    `models`: the names of those served. It takes some tenths of a second.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=app.openapi_version,
        description=app.description,
        routes=[_without_head(route) for route in app.routes],
    )
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    document["components"]["headers"] = HEADERS
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}, {}]  # or none: it depends on the service
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
        operation["parameters"] = [EXPECT_FINGERPRINT]
    return document


def _without_head(route: BaseRoute) -> BaseRoute:
    """HEAD would be described under the name of its GET."""
    if not isinstance(route, APIRoute):
        return route
    own = copy.copy(route)
    own.methods = (route.methods or set()) - {"HEAD"}
    return own


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
        "background": {"maxItems": limits.max_labels, "items": label},
        "label_sets": {"maxItems": limits.max_request_label_sets},
        "templates": {"maxItems": limits.max_templates, "items": label},
    }


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
_OF_LABELS = ("labels", "templates", "background")
_LABELS_OR_LABEL_SETS = [
    {"required": ["labels"], "properties": {"labels": {"minItems": 1}, "label_sets": {"maxItems": 0}}},
    {
        "required": ["label_sets"],
        "properties": {
            "label_sets": {"minItems": 1},
            "truncate": {"const": False},
            **{name: {"maxItems": 0} for name in _OF_LABELS},
        },
    },
]


def _singular(name: str) -> str:
    return name.removesuffix("s")


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """At least one item on each side; where there are labels, these or label sets."""
    items = {name for name in properties if name.removeprefix("to_").rstrip("s") in ("image", "text")}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if len(items) == 1:
        (needed,) = items
        filled = {needed: properties[needed] | {"minItems": 1}}
        schema |= {"properties": properties | filled, "required": [needed]}
        return schema | ({"anyOf": _LABELS_OR_LABEL_SETS} if "labels" in properties else {})
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


CLASSIFY = operation("classify", ClassifyResponse, examples.CLASSIFIED, CLASSIFYING)
EMBED = operation("embed", EmbedResponse, examples.EMBEDDED, NO_TEMPLATES)
EMBED["responses"][200]["content"]["application/x-npy"] = {
    "schema": _BINARY | {"description": "one float32 array [N, D] in NumPy's file format"}
}
EMBED["responses"][200]["headers"] |= refer("X-Model-Fingerprint")
SIMILARITY = operation("similarity", SimilarityResponse, examples.COMPARED, NO_TEMPLATES)
TOKENIZE = operation("tokenize", TokenizeResponse, examples.TOKENIZED, NO_IMAGES)
BULKS = operation("bulk", BulkLine, {}, NO_TEMPLATES)
MODELS = operation("models", ModelList, examples.MODELS, KEYED)
TEMPLATE_SETS = operation("template_sets", TemplateSetList, examples.TEMPLATE_SETS, KEYED)
TEMPLATE_SET = operation(
    "template_set", TemplateSetInfo, examples.TEMPLATE_SET, [*KEYED, UnknownTemplateSet]
) | {"openapi_extra": {"parameters": [_TEMPLATE_SET_NAME]}}
LIVEZ = operation("livez", Alive, {"status": "alive"})
READYZ = operation("readyz", Ready, {"status": "ready"})
READYZ["responses"][503] = success({"status": "not ready"}) | {
    "description": "Not ready.",
    "model": NotReady,
}
