"""Makes /openapi.json from the operations and the types of their requests and answers.

`$name` in a schema or a text stands for a value of this service: a limit, or the names of its models. What no type
says is in `document/common.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from http import HTTPStatus
from importlib.resources import files

import orjson

from clipserve import __version__
from clipserve.api.limits import RequestLimits
from clipserve.clip.template_sets import TEMPLATE_SETS
from clipserve.errors import BackendUnavailable, ClipError, LabelSetNotReady, Overloaded
from clipserve.rest.errors import FRONT_CODES, Render, kinds, problem, status_of
from clipserve.rest.operation import Answered, Operation
from clipserve.rest.schemas import Json, Schemas, drop_unused, filled, refer

_COMMON = files("clipserve.rest") / "document" / "common.json"
_KINDS = {kind.code: kind for kind in kinds()}
_REQUEST_ID = "4b0f6d6d3f1c4f0e9a3e5d7c2b1a0987"
# Of two by two pixels, so that the service accepts the examples as they are.
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEUlEQVR42mM4UaHBAAFyUQsAEzwCgd6c9XYAAAAASUVORK5CYII="

# The codes of errors that operations have in common.
_ANY = "internal_error invalid_input misdirected_request body_too_large body_too_slow overloaded deadline_exceeded"
_KEYED = "unauthenticated permission_denied rate_limited"
_BODY = (
    "malformed_request headers_too_large headers_too_slow unsupported_media_type text_too_long too_many "
    "unknown_model wrong_fingerprint too_many_connections backend_unavailable backend_failed"
)
_IMAGES = "undecodable_image image_not_fetched unsupported_format image_too_large"

RenderFor = Callable[[str], Render | None]


def described(
    operations: Iterable[Operation], limits: RequestLimits, models: Sequence[str], render_for: RenderFor
) -> Json:
    """The document of a service with these operations and models. `render_for`: path -> renders its errors."""
    document: Json = orjson.loads(_COMMON.read_bytes())
    document["info"]["version"] = __version__
    schemas = Schemas(document["components"]["schemas"])
    document["paths"] = {}
    for operation in operations:
        methods = document["paths"].setdefault(operation.path, {})
        render = render_for(operation.path) or problem
        methods[operation.method.lower()] = _operation(operation, schemas, render)
    drop_unused(document)
    shown: Json = filled(document, _values(limits, models))
    return shown


def _operation(operation: Operation, schemas: Schemas, render: Render) -> Json:
    answered = {200: operation.answers} if isinstance(operation.answers, Answered) else operation.answers
    answers = {str(status): _answer(answer, schemas) for status, answer in answered.items()}
    answers |= _failures(_codes(operation), schemas.refer(operation.error), render)
    for answer in answers.values():
        answer["headers"] = _headers("X-Request-Id", "Server-Timing") | answer.get("headers", {})
    name = operation.id or getattr(operation.handler, "__name__", "")
    shown: Json = {"tags": [operation.tag], "operationId": name, "summary": operation.summary}
    if operation.description:
        shown["description"] = operation.description
    if operation.open:
        shown["security"] = []
    if parameters := [*_parameters(operation, schemas)]:
        shown["parameters"] = parameters
    if content := _content(operation, schemas):
        shown["requestBody"] = {"required": True, "content": content}
    return shown | {"responses": dict(sorted(answers.items()))}


def _parameters(operation: Operation, schemas: Schemas) -> Iterator[Json]:
    yield from map(dict, operation.parameters)
    if operation.kind:
        yield refer("parameters", "X-Expect-Fingerprint")
    if operation.query:
        for name, field in schemas.of(operation.query, "form")["properties"].items():
            yield {"name": name, "in": "query", "description": schemas.description(field), "schema": field}


def _content(operation: Operation, schemas: Schemas) -> Json:
    """The body of a request in each media type."""
    if not operation.kind:
        return dict(operation.body)
    named = {name: {"value": example} for name, example in operation.examples.items()}
    examples = {"examples": named} if named else {"example": operation.example}
    # An adapter's own options, and requests that have two forms, are no component by a name.
    inline = operation.form or operation.kind.__name__.startswith("_")
    shown = schemas.of(operation.kind, "json") if inline else schemas.refer(operation.kind, "json")
    content: Json = {"application/json": {"schema": shown} | examples}
    if operation.form:
        content["multipart/form-data"] = {"schema": schemas.form(operation.kind)}
    if operation.beside_image:
        beside = f"The other fields go into the query: ?{operation.beside_image}"
        file = {"type": "string", "format": "binary", "description": f"The bytes of one image file. {beside}"}
        content["image/*"] = {"schema": file}
    return content


def _answer(answered: Answered, schemas: Schemas) -> Json:
    shown: Json = {"description": answered.description}
    if answered.headers:
        shown["headers"] = _headers(*answered.headers)
    content: Json = dict(answered.others)
    if answered.kind:
        content = {
            "application/json": {"schema": schemas.refer(answered.kind), "example": answered.example}
        } | content
    return shown | ({"content": content} if content else {})


def _codes(operation: Operation) -> list[str]:
    words = [_ANY]
    if not operation.open:
        words.append(_KEYED)
    if operation.kind or operation.body:
        words += [_BODY, _IMAGES] if operation.images else [_BODY]
    return " ".join([*words, *operation.errors]).split()


def _failures(codes: Sequence[str], schema: Json, render: Render) -> Json:
    """The answers of errors, by their status."""
    by_status: dict[HTTPStatus, list[type[ClipError]]] = {}
    for code in sorted(codes, key=[*_KINDS].index):
        by_status.setdefault(status_of(_KINDS[code]), []).append(_KINDS[code])
    return {str(int(status)): _failure(by_status[status], schema, render) for status in sorted(by_status)}


def _failure(raised: Sequence[type[ClipError]], schema: Json, render: Render) -> Json:
    """One of them. Its example is an answer to the first error."""
    first, headers = raised[0], Json()
    late: Json = {"retry_after": 1.0} if issubclass(first, Overloaded | LabelSetNotReady) else {}
    answer = render(first("What was wrong, in a sentence.", **late), _REQUEST_ID)
    if Overloaded in raised:
        headers = _headers("Retry-After")
    if not {LabelSetNotReady, BackendUnavailable}.isdisjoint(raised):
        headers = _headers("Retry-After-If-Known")
    content = {"schema": schema, "example": orjson.loads(answer.body)}
    codes = ", ".join(kind.code for kind in raised)
    return {
        "description": f"{status_of(first).phrase}. Codes: {codes}.",
        "headers": headers,
        "content": {answer.media_type: content},
    }


def _headers(*names: str) -> Json:
    return {name.removesuffix("-If-Known"): refer("headers", name) for name in names}


def _values(limits: RequestLimits, models: Sequence[str]) -> Json:
    return asdict(limits) | {
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
