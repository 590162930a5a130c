"""Pieces of JSON Schema that the documents of several adapters use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipserve.application.limits import RequestLimits
from clipserve.rest.classify_schemas import ANY_LABEL, SLOTTED

Schema = dict[str, Any]

TAGS = ["clients of other servers"]  # the heading of these operations on /docs

# JSON Schema has no format for these; names that it does not know are for readers only.
DATA_URI: Schema = {
    "type": "string",
    "format": "image-uri",
    "description": "an image as a data URI: data:image/jpeg;base64,...",
}
IMAGE: Schema = {
    "type": "string",
    "format": "image",
    "description": "an image as base64 or as a data URI; URLs are not fetched",
}


def text(limits: RequestLimits) -> Schema:
    return {"type": "string", "maxLength": limits.max_text_chars}


def label(limits: RequestLimits) -> Schema:
    return {**ANY_LABEL, "maxLength": limits.max_label_chars}


def template(limits: RequestLimits) -> Schema:
    """With one or two slots."""
    return {**SLOTTED, "maxLength": limits.max_label_chars}


def part(limits: RequestLimits) -> Schema:
    """A text or an image as OpenAI's messages hold them; their `type` is what their other field says."""
    url = {"type": "object", "properties": {"url": DATA_URI}, "required": ["url"]}
    return {
        "anyOf": [
            {"type": "object", "properties": {"text": text(limits)}, "required": ["text"]},
            {"type": "object", "properties": {"image_url": url}, "required": ["image_url"]},
        ]
    }


def model(names: Sequence[str]) -> Schema:
    return {
        "anyOf": [{"type": "string", "enum": [*names]}, {"type": "null"}],
        "description": "name of a served model; without it, the first",
    }


def one_of(fields: dict[str, Schema]) -> list[Schema]:
    """One of these fields, and the others not or null."""
    return [
        {
            "properties": {
                other: schema if other == name else {"type": "null"} for other, schema in fields.items()
            },
            "required": [name],
        }
        for name, schema in fields.items()
    ]


def json_body(schema: Schema, examples: dict[str, Any]) -> Schema:
    """What `openapi_extra` of a route says of its request. `examples`: by their names."""
    shown = {name: {"value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": schema, "examples": shown}}
    return {"tags": TAGS, "requestBody": {"required": True, "content": content}}
