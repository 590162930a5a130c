"""Reading /openapi.json in tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from tests.support.service import Running


async def document_of(running: Running) -> dict[str, Any]:
    document: dict[str, Any] = (await running.client.get("/openapi.json")).json()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def faults(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """Where the value does not fit a schema of the document."""
    whole = {**schema, "components": document["components"]}
    return [str(fault) for fault in jsonschema_rs.Draft202012Validator(whole).iter_errors(value)]


def examples_of(content: dict[str, Any]) -> list[Any]:
    """Of one media type of a request or an answer."""
    if "example" in content:
        return [content["example"]]
    return [each["value"] for each in content.get("examples", {}).values()]


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with what it refers to."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return {**document["components"]["schemas"].get(name, {}), **schema}


def names_in(document: dict[str, Any], schema: Any, seen: frozenset[str] = frozenset()) -> set[str]:
    """The names of all fields in a schema, and in what it refers to."""
    if isinstance(schema, list):
        return {name for each in schema for name in names_in(document, each, seen)}
    if not isinstance(schema, dict):
        return set()
    found: set[str] = set(schema.get("properties", ()))
    reference = schema.get("$ref", "")
    if reference and reference not in seen:
        found |= names_in(document, resolved(document, {"$ref": reference}), seen | {reference})
    values = {"example", "examples", "default", "enum", "const", "not", "$ref"}
    inner = [each for key, each in schema.items() if key not in values and key != "properties"]
    return found | names_in(document, [*inner, *schema.get("properties", {}).values()], seen)
