"""What handlers get of a request: `Depends(reads(ClassifyRequest))`.

`Exchange` has read the body. It is a form, the bytes of one image with all other fields in the query, or JSON with
images in base64. Each `image` of a form, and the bytes alone, become the list `images` that JSON has. Long ones are
parsed in the side thread: FastAPI's own parameters would parse on the event loop, and write files to a disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

from multipart import parse_options_header
from starlette.requests import Request

from clipserve.api.fields import in_form
from clipserve.api.limits import RequestLimits
from clipserve.api.requests import Choice
from clipserve.application.body import Body
from clipserve.application.shared import Shared
from clipserve.concurrency import beside_loop
from clipserve.errors import InvalidInput, UnsupportedMediaType
from clipserve.rest.forms import parse_form
from clipserve.rest.json_body import IMAGE_FIELDS, JsonObject, decode_images, load_object
from clipserve.rest.validating import validated, validator_of

T = TypeVar("T")
Parsed = TypeVar("Parsed")
C = TypeVar("C", bound=Choice)

_LISTS = ("texts", "to_texts", "labels", "label_sets", "templates", "background")
_NAMES = {in_form(name): name for name in (*IMAGE_FIELDS, *_LISTS)}
_MAX_CONTENT_TYPE = 1_024  # characters that are looked at
FORM, JSON = "multipart/form-data", "application/json"


def service_of(request: Request) -> Shared:
    """What all handlers use."""
    service: Shared = request.app.state.service
    return service


class Upload(NamedTuple):
    """The images and the other fields, unvalidated. `typed`: they are JSON, where "5" is not a number."""

    fields: dict[str, Any]
    typed: bool


def reads(kind: type[C]) -> Callable[[Request], Awaitable[C]]:
    """A dependency: the checked request of this kind. See `parse_upload`, `read_fields` and the kind's `check`."""
    validator_of(kind)  # type: ignore[arg-type]  # at the start, not at the first request
    return reading(
        parse_upload, lambda upload, request, limits: read_fields(kind, upload, request).check(limits)
    )


def reading(
    parse: Callable[[Request, Body], Parsed], read: Callable[[Parsed, Request, RequestLimits], T]
) -> Callable[[Request], Awaitable[T]]:
    """A dependency: what `read` makes of a body that `parse_upload` or `parse_object` has parsed."""

    async def parsed(request: Request) -> T:
        limits, body = service_of(request).inference.limits, request.scope["state"]["body"]
        # Of an image nothing is parsed but the query.
        text = request.scope["query_string"] if _is_image(_media_type(request)) else body
        return await beside_loop(lambda: read(parse(request, body), request, limits), len(text))

    return parsed


def header(request: Request, name: bytes) -> str:
    """A header of the request, or nothing. `name` is in lower case; Starlette would look at all headers."""
    value: bytes = request.scope["state"]["headers"].get(name, b"")
    return value.decode("latin-1")


def read_fields(kind: type[T], upload: Upload, request: Request) -> T:
    """The request of this kind, validated by its type. The expected fingerprint may be in a header.

    Raises:
        InvalidInput: a field is missing, unknown or of the wrong type; the message names it.
    """
    fields = upload.fields
    if fields.get("expect_fingerprint") in (None, ""):
        fields["expect_fingerprint"] = expected(request)
    return validated(kind, fields, strict=upload.typed)


def expected(request: Request) -> str | None:
    """The fingerprint that the caller expects by a header; None: any."""
    return header(request, b"x-expect-fingerprint") or None


def parse_upload(request: Request, body: Body) -> Upload:
    """Take the body and parse it by its media type.

    Raises:
        InvalidInput: the body does not match its Content-Type; the query of a form or of JSON has fields; a text
            in a form, or the query, is not UTF-8.
        UnsupportedMediaType: the Content-Type is none of the three forms.
        TooMany: a form has too many parts, or JSON too many values or images.
    """
    kind, query = _media_type(request), request.scope["query_string"]
    if _is_image(kind):
        try:  # as Starlette's QueryParams, which would put marks in place of what is not UTF-8
            items = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise InvalidInput("the query is not valid UTF-8.") from None
        fields = _gathered(items)
        return Upload(fields | {"images": [body.take()]}, typed=False)
    if kind not in (FORM, JSON):
        raise UnsupportedMediaType(
            f"Content-Type is {kind[:64] or 'missing'}. "
            "Send multipart/form-data (curl -F image=@cat.jpg -F text=hello), "
            "an image's bytes (curl -H 'Content-Type: image/jpeg' --data-binary @cat.jpg), or application/json."
        )
    if query:
        raise InvalidInput("there is a query; beside a form or JSON all fields go into the body.")
    if kind == JSON:
        fields = load_object(body, request.app.state.max_json_bytes)
        decode_images(fields)
        return Upload(fields, typed=True)
    _, options = parse_options_header(_content_type(request))
    return Upload(_gathered(parse_form(body.take(), options.get("boundary", ""))), typed=False)


def parse_object(request: Request, body: Body) -> JsonObject:
    """Take the body and parse it as a JSON object, whose images are still base64.

    Raises UnsupportedMediaType: the Content-Type is not JSON; InvalidInput, TooMany: see `load_object`.
    """
    if (kind := _media_type(request)) != JSON:
        raise UnsupportedMediaType(
            f"Content-Type is {kind[:64] or 'missing'}; this endpoint takes application/json."
        )
    return load_object(body, request.app.state.max_json_bytes)


def _content_type(request: Request) -> str:
    return header(request, b"content-type")[:_MAX_CONTENT_TYPE]


def _media_type(request: Request) -> str:
    """Without its options, in lower case."""
    return _content_type(request).partition(";")[0].strip().lower()


def _is_image(kind: str) -> bool:
    """Whether a body of this media type is the bytes of one image."""
    return kind.startswith("image/") or kind == "application/octet-stream"


def _gathered(items: Iterable[tuple[str, str | bytes]]) -> dict[str, Any]:
    """Images and repeated fields as lists, the others as they are."""
    fields: dict[str, Any] = {}
    for key, value in items:
        name = _NAMES.get(key, key)
        if name in IMAGE_FIELDS:
            if isinstance(value, str):
                raise InvalidInput(
                    f"the field `{key}` is text, not a file. With curl, write -F {key}=@cat.jpg, with the @."
                )
            fields.setdefault(name, []).append(value)
        elif not isinstance(value, str):
            raise InvalidInput(f"the field `{key[:64]}` is a file; images go into the field `image`.")
        elif name in _LISTS:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise InvalidInput(f"the field `{name[:64]}` is given more than once.")
        else:
            fields[name] = value
    if fields.get("labels") and fields.get("label_sets") == [""]:
        del fields["label_sets"]  # HTML forms send empty fields
    return fields
