"""What /openapi.json says of bodies and errors, which FastAPI does not see in the handlers' signatures.

"$name" in the schema or the example of a request stands for a value of this service: a limit, or its models.
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
_IN_FORMS = {name: in_form(name) for name in (*IMAGE_FIELDS, "texts", "to_texts")}
_REF = "#/components/schemas/{model}"
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
    content: Json = {"application/json": {"schema": _refer(name), "examples": named}}
    if form:
        _with_forms.add(name)
        content["multipart/form-data"] = {"schema": _refer(f"{name}Form")}
    if beside_image:
        said = f"The bytes of one image file. The other fields go into the query: ?{beside_image}"
        content["image/*"] = {"schema": {"type": "string", "format": "binary", "description": said}}
    return {"parameters": [_EXPECTED], "requestBody": {"required": True, "content": content}}


def _refer(name: str) -> Json:
    return {"$ref": _REF.format(model=name)}


def _errors() -> dict[int | str, Json]:
    codes: dict[HTTPStatus, list[str]] = {}
    for kind in kinds():
        codes.setdefault(status_of(kind), []).append(kind.code)
    return {
        int(status): {
            "description": f"{status.phrase}. Codes: {', '.join(codes[status])}.",
            "content": {"application/problem+json": {"schema": _refer(Problem.__name__)}},
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
    adapters = [(name, "validation", TypeAdapter(kind)) for name, kind in _described.items()]
    shown, together = TypeAdapter.json_schemas(adapters, ref_template=_REF)  # type: ignore[arg-type]
    own = {name: schema for (name, _), schema in shown.items() if "$ref" not in schema}
    schemas: Json = together.get("$defs", {}) | own
    forms = {f"{name}Form": _in_form(schemas[name]) for name in _with_forms}
    for fields in (form["properties"] for form in forms.values()):
        for name in {"image", "to_image"} & fields.keys():
            fields[name] |= {"items": {"type": "string", "format": "binary"}, "description": "image files"}
            fields[name].pop("default", None)  # with it, /docs would offer no file to choose
    return schemas | forms


def _in_form(value: Any) -> Any:
    """A schema with the names that fields have in forms, and without null."""
    if isinstance(value, list):
        return [_in_form(each) for each in value if each != {"type": "null"}]
    if not isinstance(value, dict):
        return _IN_FORMS.get(value, value) if isinstance(value, str) else value
    shown = {_IN_FORMS.get(key, key): _in_form(each) for key, each in value.items()}
    if shown.get("default", ...) is None:
        del shown["default"]
    if len(shown.get("anyOf", ())) == 1:
        shown |= shown.pop("anyOf")[0]
    return shown
