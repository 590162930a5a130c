"""Makes /openapi.json from the files of `document/`, with this service's models and limits filled in.

In these files `$name` stands for a value of `_values`. `x-errors` of an operation are codes of errors, or names of
lists of codes in `service.json`; `x-error` is the schema of their answers, if these are not problem+json.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import orjson

from clipserve import __version__
from clipserve.api.limits import RequestLimits
from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.errors import ClipError, LabelSetNotReady, Overloaded
from clipserve.rest.errors import FRONT_CODES, Render, kinds, problem, status_of

_FOLDER = files("clipserve.rest") / "document"
_PARTS = ("classify", "embed", "similarity", "tokenize", "label_sets", "template_sets", "service")
_PLACE = re.compile(r'"\$(\w+)"|\$(\w+)')
_KINDS = {kind.code: kind for kind in kinds()}
_REQUEST_ID = "4b0f6d6d3f1c4f0e9a3e5d7c2b1a0987"
# Of two by two pixels, so that the service accepts the examples as they are.
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEUlEQVR42mM4UaHBAAFyUQsAEzwCgd6c9XYAAAAASUVORK5CYII="

RenderFor = Callable[[str], Render | None]


def described(
    limits: RequestLimits, models: Sequence[str], compat: Iterable[str], render_for: RenderFor
) -> dict[str, Any]:
    """The document of a service with these models and adapters. `render_for`: path -> renders its errors."""
    values = _values(limits, models)
    document: dict[str, Any] = {"paths": {}, "components": {}}
    for name in (*_PARTS, *compat):
        part = _filled((_FOLDER / f"{name}.json").read_text("utf-8"), values)
        document["paths"] |= part.pop("paths")
        for kind, named in part.pop("components").items():
            document["components"].setdefault(kind, {}).update(named)
        document |= part
    lists = document.pop("x-errors")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            codes = [code for word in operation.pop("x-errors") for code in lists.get(word, [word])]
            schema = operation.pop("x-error", "Problem")
            operation["responses"] |= _failures(codes, schema, render_for(path) or problem)
            operation["responses"] = dict(sorted(operation["responses"].items()))
            for response in operation["responses"].values():
                response["headers"] = _refer("X-Request-Id", "Server-Timing") | response.get("headers", {})
    return document


def _values(limits: RequestLimits, models: Sequence[str]) -> dict[str, Any]:
    return asdict(limits) | {
        "version": __version__,
        "png": _PNG,
        "models": [*models],
        "models_or_null": [*models, None],
        "first_model": models[0],
        "encode_endpoints": ["/", "/encode", *(f"/encode/{name}" for name in models), None],
        "rank_endpoints": ["/rank", *(f"/rank/{name}" for name in models)],
        "max_items": limits.max_texts + limits.max_images,
        "template_sets": list(TEMPLATE_SETS),
        "codes_of_items": [*_KINDS],
        "codes": [*_KINDS, *FRONT_CODES.values()],
    }


def _filled(text: str, values: dict[str, Any]) -> Any:
    """JSON with each `"$name"` as the value, and each `$name` inside a longer text as its text."""

    def value(place: re.Match[str]) -> str:
        whole, inside = place.groups()
        if whole in values:
            return orjson.dumps(values[whole]).decode()
        shown = values.get(inside, place[0])
        return f"{shown:,}" if isinstance(shown, int) else shown

    return orjson.loads(_PLACE.sub(value, text))


def _failures(codes: Sequence[str], schema: str, render: Render) -> dict[str, Any]:
    """The answers of errors, by their status."""
    by_status: dict[HTTPStatus, list[type[ClipError]]] = {}
    for code in sorted(codes, key=[*_KINDS].index):
        by_status.setdefault(status_of(_KINDS[code]), []).append(_KINDS[code])
    return {str(int(status)): _failure(by_status[status], schema, render) for status in sorted(by_status)}


def _failure(raised: Sequence[type[ClipError]], schema: str, render: Render) -> dict[str, Any]:
    """One of them. Its example is an answer to the first error."""
    first, headers = raised[0], dict[str, Any]()
    late: dict[str, Any] = {"retry_after": 1.0} if issubclass(first, Overloaded | LabelSetNotReady) else {}
    answer = render(first("What was wrong, in a sentence.", **late), _REQUEST_ID)
    if Overloaded in raised:
        headers = _refer("Retry-After")
    if LabelSetNotReady in raised:
        headers = {"Retry-After": {"$ref": "#/components/headers/Retry-After-If-Known"}}
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": orjson.loads(answer.body)}
    codes = ", ".join(kind.code for kind in raised)
    return {
        "description": f"{status_of(first).phrase}. Codes: {codes}.",
        "headers": headers,
        "content": {answer.media_type: content},
    }


def _refer(*headers: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
