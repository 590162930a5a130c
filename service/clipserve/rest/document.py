"""What /openapi.json says of bodies and errors, which FastAPI does not see in the handlers' signatures.

"$name" in a schema or an example stands for a value of this service: a limit, or its models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from pydantic import TypeAdapter

from clipserve.api.answers import Problem
from clipserve.api.fields import in_form
from clipserve.api.limits import RequestLimits
from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.errors import kinds
from clipserve.rest.errors import status_of
from clipserve.rest.json_body import IMAGE_FIELDS

Json = dict[str, Any]

# Of two by two pixels, so that the service accepts the examples as they are.
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEUlEQVR42mM4UaHBAAFyUQsAEzwCgd6c9XYAAAAASUVORK5CYII="
_REF = "#/components/schemas/"
_EXPECTED = {
    "name": "X-Expect-Fingerprint",
    "in": "header",
    "description": "the same as the field expect_fingerprint; if both are given, the field counts",
    "schema": {"type": "string"},
}
_described: dict[str, Any] = {Problem.__name__: Problem}  # types, by the names of their components
_with_forms: set[str] = set()  # those of them that a form may have as well


def body_of(kind: type[Any], *examples: object, form: bool = False, beside_image: str = "") -> Json:
    """The `openapi_extra` of a route that reads its body itself, as JSON of this type.

    `form`: or as a form. `beside_image`: or as the bytes of an image, with the other fields in a query like this.
    """
    name = kind.__name__
    _described[name] = kind
    named = {f"example {number}": {"value": example} for number, example in enumerate(examples, 1)}
    content: Json = {"application/json": {"schema": {"$ref": _REF + name}, "examples": named}}
    if form:
        _with_forms.add(name)
        content["multipart/form-data"] = {"schema": {"$ref": f"{_REF}{name}Form"}}
    if beside_image:
        said = f"The bytes of one image file. The other fields go into the query: ?{beside_image}"
        content["image/*"] = {"schema": {"type": "string", "format": "binary", "description": said}}
    return {"parameters": [_EXPECTED], "requestBody": {"required": True, "content": content}}


def _errors() -> dict[int | str, Json]:
    codes: dict[HTTPStatus, list[str]] = {}
    for kind in kinds():
        codes.setdefault(status_of(kind), []).append(kind.code)
    return {
        int(status): {
            "description": f"{status.phrase}. Codes: {', '.join(codes[status])}.",
            "content": {"application/problem+json": {"schema": {"$ref": _REF + Problem.__name__}}},
        }
        for status in sorted(codes)
    }


ERRORS = _errors()  # the `responses` that all routes have in common: each code, by its status


def custom_openapi(app: FastAPI, limits: RequestLimits, models: Sequence[str]) -> Callable[[], Json]:
    """The `openapi` of the application: FastAPI's own, with the types of bodies and the values of this service."""

    @functools.cache
    def openapi() -> Json:
        document = FastAPI.openapi(app)
        document["components"] = {
            "schemas": document["components"]["schemas"] | _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        }
        document["security"] = [{"key": []}, {}]
        values = asdict(limits) | {"png": _PNG, "models": [*models], "template_sets": list(TEMPLATE_SETS)}
        text = orjson.dumps(document).decode()
        for name, value in values.items():
            text = text.replace(f'"${name}"', orjson.dumps(value).decode())
        filled: Json = orjson.loads(text)
        return filled

    return openapi


def _schemas() -> Json:
    described = [(name, "validation", TypeAdapter(kind)) for name, kind in _described.items()]
    shown, together = TypeAdapter.json_schemas(described, ref_template=_REF + "{model}")  # type: ignore[arg-type]
    own = {name: schema for (name, _), schema in shown.items() if "$ref" not in schema}
    schemas: Json = together.get("$defs", {}) | own
    return schemas | {f"{name}Form": _in_form(schemas[name]) for name in _with_forms}


def _in_form(schema: Json) -> Json:
    """The schema of the same fields in a form: by the names that they have there, without null, and with files."""
    text = orjson.dumps(schema).decode()
    for name in (*IMAGE_FIELDS, "texts", "to_texts"):
        text = text.replace(f'"{name}"', f'"{in_form(name)}"')
    form: Json = orjson.loads(text)
    for field in form["properties"].values():
        if field.get("items", {}).get("format") == "image":
            field |= {"items": {"type": "string", "format": "binary"}, "description": "image files"}
            del field["default"]  # with it, /docs would offer no file to choose
        elif field.get("default", ...) is None:
            del field["default"]
            field |= field.pop("anyOf")[0]
    return form
