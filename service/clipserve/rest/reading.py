"""What handlers get of a request: `Depends(reads(ClassifyRequest))`.

`Exchange` has read the body. It is a form, the bytes of one image with all other fields in the query, or JSON with
images in base64; long ones are parsed in the side thread. FastAPI's own parameters would parse on the event loop,
and write the files of a form to a disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self, TypeVar
from urllib.parse import unquote_plus

from multipart import parse_options_header
from starlette.datastructures import QueryParams
from starlette.requests import Request

from clipserve.api.fields import ImageSource, in_form
from clipserve.api.limits import RequestLimits
from clipserve.application.body import Body
from clipserve.application.shared import Shared
from clipserve.errors import InvalidInput, UnsupportedMediaType, check_limit
from clipserve.rest.forms import parse_form
from clipserve.rest.json_body import IMAGE_FIELDS, JsonObject, load_object, parse_json
from clipserve.rest.validating import validated, validator_of

T = TypeVar("T")
Parsed = TypeVar("Parsed")

_LISTS = ("texts", "to_texts", "labels", "label_sets", "templates", "background")
_NAMES = {in_form(name): name for name in (*IMAGE_FIELDS, *_LISTS)}
_CHARSETS = ("utf-8", "us-ascii")
_MAX_CONTENT_TYPE = 1_024  # characters
FORM, JSON = "multipart/form-data", "application/json"


@dataclass(frozen=True)
class Service(Shared):
    """What all handlers use: `request.app.state.service`. `max_json_bytes`: of a body besides its images."""

    max_json_bytes: int = field(kw_only=True)


def service_of(request: Request) -> Service:
    """What the application was built with."""
    service: Service = request.app.state.service
    return service


class Checked(Protocol):
    """A request of `clipserve.api.requests`."""

    def check(self, limits: RequestLimits) -> Self: ...


C = TypeVar("C", bound=Checked)


class Upload(NamedTuple):
    """The images and the other fields, unparsed. `typed`: the fields are JSON, where "5" is not a number."""

    images: Mapping[str, Sequence[ImageSource]]
    fields: dict[str, Any]
    typed: bool


def reads(kind: type[C]) -> Callable[[Request], Awaitable[C]]:
    """A dependency: the checked request of this kind. See `parse_upload`, `read_fields` and the kind's `check`."""
    validator_of(kind)  # at the start, not at the first request
    return reading(
        parse_upload, lambda upload, request, limits: read_fields(kind, upload, request).check(limits)
    )


def reading(
    parse: Callable[[str, Request, Body, int], Parsed], read: Callable[[Parsed, Request, RequestLimits], T]
) -> Callable[[Request], Awaitable[T]]:
    """A dependency: what `read` makes of a body that `parse_upload` or `parse_object` has parsed."""

    async def parsed(request: Request) -> T:
        service, body, content_type = (
            service_of(request),
            request.state.body,
            header(request, b"content-type"),
        )

        def work(body: Body) -> T:
            return read(
                parse(content_type, request, body, service.max_json_bytes), request, service.inference.limits
            )

        # Of an image nothing is parsed but the query.
        size = len(request.scope["query_string"]) if _is_image(_media_type(content_type)) else len(body)
        result: T = await body.parsed(work, lambda _: size)
        return result

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
    fields = {**upload.images, **upload.fields}
    if fields.get("expect_fingerprint") in (None, ""):
        fields["expect_fingerprint"] = expected(request)
    return validated(kind, fields, strict=upload.typed)


def expected(request: Request) -> str | None:
    """The fingerprint that the caller expects by a header; None: any."""
    return header(request, b"x-expect-fingerprint") or None


def parse_upload(content_type: str, request: Request, body: Body, max_json_bytes: int) -> Upload:
    """Take the body and parse it by its media type.

    Raises:
        InvalidInput: the body does not match its Content-Type; the query of a form or of JSON has fields; a text
            in a form is not UTF-8.
        UnsupportedMediaType: the Content-Type is none of the three forms, or the charset is not UTF-8 or ASCII.
        BodyTooLarge: the JSON has more than `max_json_bytes` besides its images.
        TooMany: a form has too many parts, or JSON has too many images.
    """
    kind, query = _media_type(content_type), request.scope["query_string"]
    if _is_image(kind):
        upload = _gathered(QueryParams(query).multi_items() if query else ())
        return upload._replace(images={"images": [body.take()]})
    if kind not in (FORM, JSON):
        raise UnsupportedMediaType(
            f"Content-Type is {kind[:64] or 'missing'}. "
            "Send multipart/form-data (curl -F image=@cat.jpg -F text=hello), "
            "an image's bytes (curl -H 'Content-Type: image/jpeg' --data-binary @cat.jpg), or application/json."
        )
    options = _options(kind, content_type)
    if name := query.partition(b"&")[0].partition(b"=")[0]:
        shown = unquote_plus(name[:256].decode("latin-1"))[:64]
        raise InvalidInput(
            f"the query has the field `{shown}`; beside a form or JSON all fields go into the body."
        )
    if kind == JSON:
        images, fields = parse_json(body, max_json_bytes)
        return Upload(images, fields, typed=True)
    return _gathered(parse_form(body.take(), options.get("boundary", "")))


def parse_object(content_type: str, request: Request, body: Body, max_json_bytes: int) -> JsonObject:  # noqa: ARG001 - see `reading`
    """Take the body and parse it as a JSON object, whose images the caller finds.

    Raises:
        UnsupportedMediaType: the Content-Type is not JSON.
        InvalidInput, BodyTooLarge: see `load_object`.
    """
    if (kind := _media_type(content_type)) != JSON:
        raise UnsupportedMediaType(
            f"Content-Type is {kind[:64] or 'missing'}; this endpoint takes application/json."
        )
    _options(kind, content_type)
    return load_object(body, max_json_bytes)


def _media_type(content_type: str) -> str:
    """Without its options, in lower case."""
    return content_type[:_MAX_CONTENT_TYPE].partition(";")[0].strip().lower()


def _is_image(kind: str) -> bool:
    """Whether a body of this media type is the bytes of one image."""
    return kind.startswith("image/") or kind == "application/octet-stream"


def _options(kind: str, content_type: str) -> dict[str, str]:
    """What the Content-Type says besides the media type, `kind`; its charset is checked."""
    if content_type == kind:
        return {}
    has = "the Content-Type has {:,} characters"
    check_limit(UnsupportedMediaType, has, len(content_type), _MAX_CONTENT_TYPE)
    options: dict[str, str] = parse_options_header(content_type)[1]
    charset = options.get("charset", "utf-8")
    # Some of Python's codecs take quadratic time, or raise unusual errors.
    if charset.lower() not in _CHARSETS:
        raise UnsupportedMediaType(
            f"the charset {charset[:32]} is not accepted: send {' or '.join(_CHARSETS)}."
        )
    return options


def _gathered(items: Iterable[tuple[str, str | bytes]]) -> Upload:
    """Images and repeated fields as lists, the others as they are."""
    images: dict[str, list[ImageSource]] = {}
    fields: dict[str, Any] = {}
    for key, value in items:
        name = _NAMES.get(key, key)
        if name in IMAGE_FIELDS:
            if isinstance(value, str):
                raise InvalidInput(
                    f"the field `{key}` is text, not a file. With curl, write -F {key}=@cat.jpg, with the @."
                )
            images.setdefault(name, []).append(value)
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
    return Upload(images, fields, typed=False)
