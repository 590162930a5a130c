"""What /openapi.json says of bodies and errors, which FastAPI does not see in the handlers' signatures.

`$name` in the schema or the example of a request stands for a value of this service: a limit, or its models.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
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
from clipserve.errors import BackendUnavailable, ClipError, LabelSetNotReady, Overloaded, kinds
from clipserve.rest.errors import status_of
from clipserve.rest.json_body import IMAGE_FIELDS

Json = dict[str, Any]

# The codes of errors that operations have in common.
_ANY = "internal_error invalid_input misdirected_request body_too_large body_too_slow overloaded deadline_exceeded "
_KEYED = "unauthenticated permission_denied rate_limited "
_BODY = (
    "malformed_request headers_too_large headers_too_slow unsupported_media_type text_too_long too_many "
    "unknown_model wrong_fingerprint too_many_connections backend_unavailable backend_failed "
)
_IMAGES = "undecodable_image image_not_fetched unsupported_format image_too_large "
# Of two by two pixels, so that the service accepts the examples as they are.
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEUlEQVR42mM4UaHBAAFyUQsAEzwCgd6c9XYAAAAASUVORK5CYII="
_IN_FORMS = {name: in_form(name) for name in (*IMAGE_FIELDS, "texts", "to_texts")}
_REF = "#/components/schemas/{model}"
_RETRY_AFTER = {
    "description": "seconds after which a retry may succeed",
    "schema": {"type": "integer", "minimum": 1},
}
_REQUEST_ID = {
    "description": "the id of the request, also in the log",
    "schema": {"type": "string"},
    "required": True,
}
_EXPECTED = {
    "name": "X-Expect-Fingerprint",
    "in": "header",
    "description": "the same as the field expect_fingerprint; if both are given, the field counts",
    "schema": {"type": "string"},
}
# For `responses=` of a route whose answer has no field for the fingerprint.
OF_FINGERPRINT: dict[int | str, Json] = {
    200: {
        "headers": {
            "X-Model-Fingerprint": {"description": "the model's fingerprint", "schema": {"type": "string"}}
        }
    }
}

_described: dict[str, Any] = {}  # the types of requests and errors, by the names of their components


def body_of(kind: Any, *examples: object, form: bool = False, beside_image: str = "") -> Json:
    """The `openapi_extra` of a route that reads its body itself, as JSON of this type.

    `form`: or as a form. `beside_image`: or as the bytes of an image, with the other fields in a query like this.
    """
    named = {f"example {number}": {"value": example} for number, example in enumerate(examples, 1)}
    content: Json = {"application/json": {"schema": _refer(kind), "examples": named}}
    if form:
        content["multipart/form-data"] = {"schema": {"$ref": _REF.format(model=f"{kind.__name__}Form")}}
    if beside_image:
        said = f"The bytes of one image file. The other fields go into the query: ?{beside_image}"
        content["image/*"] = {"schema": {"type": "string", "format": "binary", "description": said}}
    return {"parameters": [_EXPECTED], "requestBody": {"required": True, "content": content}}


def failures(
    codes: str = "",
    *,
    body: bool = False,
    images: bool = False,
    open_: bool = False,
    error: type[Any] = Problem,
) -> dict[int | str, Json]:
    """The `responses` of a route: its errors by status. `codes`: besides those that many routes have in common."""
    words = _ANY + _KEYED * (not open_) + _BODY * (body or images) + _IMAGES * images + codes
    by_status: dict[HTTPStatus, list[type[ClipError]]] = {}
    for kind in kinds():
        if kind.code in words.split():
            by_status.setdefault(status_of(kind), []).append(kind)
    media_type = "application/problem+json" if error is Problem else "application/json"
    return {
        int(status): {
            "description": f"{status.phrase}. Codes: {', '.join(kind.code for kind in raised)}.",
            "content": {media_type: {"schema": _refer(error)}},
            "headers": _headers(raised),
        }
        for status, raised in sorted(by_status.items())
    }


def _headers(raised: Sequence[type[ClipError]]) -> Json:
    if {Overloaded, LabelSetNotReady, BackendUnavailable}.isdisjoint(raised):
        return {}
    return {"Retry-After": {**_RETRY_AFTER, "required": Overloaded in raised}}


def _refer(kind: Any) -> Json:
    _described[kind.__name__] = kind
    return {"$ref": _REF.format(model=kind.__name__)}


def custom_openapi(app: FastAPI, limits: RequestLimits, models: Sequence[str]) -> Callable[[], Json]:
    """The `openapi` of the application: FastAPI's own, with the types of bodies and the values of this service."""

    @functools.cache
    def openapi() -> Json:
        document = FastAPI.openapi(app)
        for operation in (each for methods in document["paths"].values() for each in methods.values()):
            if operation["responses"].get("422", {}).get("description") == "Validation Error":
                del operation["responses"]["422"]  # handlers check what they read themselves
            for answer in operation["responses"].values():
                answer.setdefault("headers", {})["X-Request-Id"] = _REQUEST_ID
        schemas = document.get("components", {}).get("schemas", {}) | _schemas()
        document["components"] = {
            "schemas": _needed(document["paths"], schemas),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        }
        document["security"] = [{"key": []}, {}]
        values = asdict(limits) | {
            "png": _PNG,
            "models": [*models],
            "first_model": models[0],
            "max_items": limits.max_texts + limits.max_images,
            "template_sets": list(TEMPLATE_SETS),
        }
        return _filled(document, values)

    return openapi


def _schemas() -> Json:
    adapters = [(name, "validation", TypeAdapter(kind)) for name, kind in _described.items()]
    shown, together = TypeAdapter.json_schemas(adapters, ref_template=_REF)  # type: ignore[arg-type]
    own = {name: schema for (name, _), schema in shown.items() if "$ref" not in schema}
    schemas: Json = together.get("$defs", {}) | own
    forms = {f"{name}Form": _in_form(schema) for name, schema in schemas.items()}
    for fields in (form.get("properties", {}) for form in forms.values()):
        for name in {"image", "to_image"} & fields.keys():
            fields[name] |= {"items": {"type": "string", "format": "binary"}, "description": "image files"}
            fields[name].pop("default", None)  # with it, /docs would offer no file to choose
    return schemas | forms


def _needed(paths: Json, schemas: Json) -> Json:
    """Those to which these paths refer: not those of adapters that are off."""
    names: set[str] = set()
    while found := _referred([paths, *map(schemas.get, names)]) - names:
        names |= found
    return {name: schemas[name] for name in sorted(names)}


def _referred(value: object) -> set[str]:
    return set(re.findall(r'"#/components/schemas/(\w+)"', orjson.dumps(value).decode()))


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


def _filled(document: Json, values: Mapping[str, Any]) -> Json:
    """With values in place of "$name" and of ["$name"], and their text in place of $name in a longer text."""
    text = orjson.dumps(document).decode()
    for name in sorted(values, key=len, reverse=True):  # one may be the beginning of another
        value, whole = values[name], orjson.dumps(values[name]).decode()
        if isinstance(value, list):
            text = text.replace(f'["${name}"]', whole)
        part = f"{value:,}" if isinstance(value, int) else whole.strip('"')
        text = text.replace(f'"${name}"', whole).replace(f"${name}", part)
    filled: Json = orjson.loads(text)
    return filled
