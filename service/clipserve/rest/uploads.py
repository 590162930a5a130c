"""Reads the three forms of a request: multipart, the bytes of one image, JSON with base64."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote_plus

from multipart import parse_options_header
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs
from starlette.datastructures import QueryParams

from clipserve.api.fields import ImageSource, in_form
from clipserve.application.body import Body
from clipserve.errors import InvalidInput, UnsupportedMediaType, check_limit
from clipserve.rest.forms import parse_form
from clipserve.rest.json_body import IMAGE_FIELDS, JsonObject, load_object, parse_json
from clipserve.rest.request import Request

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Validate(Protocol[T_co]):
    """Makes a validated value of fields. `strict`: as in JSON. Raises ValidationError."""

    def __call__(self, fields: dict[str, Any], /, *, strict: bool) -> T_co: ...


_LISTS = ("texts", "to_texts", "labels", "label_sets", "templates", "background")
_NAMES = {in_form(name): name for name in (*IMAGE_FIELDS, *_LISTS)}
_MAX_FAULTS = 5
_CHARSETS = ("utf-8", "us-ascii")
_MAX_CONTENT_TYPE = 1_024  # characters


class Upload(NamedTuple):
    """The images and the other fields, unparsed. `typed`: the fields are JSON, where "5" is not a number."""

    images: Mapping[str, Sequence[ImageSource]]
    fields: dict[str, Any]
    typed: bool

    def read(self, kind: type[T], request: Request) -> T:
        """The request of this kind, validated by its type. The expected fingerprint may be in a header.

        Raises:
            InvalidInput: a field is missing, unknown or of the wrong type; the message names it.
        """
        reader: Reader[T] = reader_of(kind)  # type: ignore[arg-type]
        fields = {**self.images, **self.fields}
        strange = () if fields.keys() <= reader.known else unknown("", tuple(fields), reader.known)
        if fields.get("expect_fingerprint") in (None, ""):
            fields["expect_fingerprint"] = expected(request)
        return validated(reader.validate, fields, strange, reader.hint, strict=self.typed)


class Reader(NamedTuple, Generic[T]):
    """What reads requests of one kind. `hint`: what an error tells of the known fields."""

    validate: Validate[T]
    known: frozenset[str]
    hint: str


@functools.cache
def reader_of(kind: Any) -> Reader[Any]:
    """Make it, once for each kind; the application does so at its start."""
    validator = TypeAdapter(kind).validator
    names = [field.name for field in sorted(dataclasses.fields(kind), key=lambda field: bool(field.kw_only))]

    def validate(fields: dict[str, Any], *, strict: bool) -> Any:
        # Into a new object, because a dataclass is not strictly a dictionary.
        made = kind.__new__(kind)
        return validator.validate_python(ArgsKwargs((), fields), strict=strict, self_instance=made)

    return Reader(validate, frozenset(names), f" Known fields: {', '.join(names)}.")


def unknown(place: str, names: Iterable[str], known: Container[str]) -> Iterator[str]:
    """The errors of unknown fields, made lazily: a request can have any number of them."""
    return (f"{place}{name[:64]}: no such field" for name in names if name not in known)


def validated(
    validate: Validate[T],
    fields: dict[str, Any],
    strange: Iterable[str] = (),
    hint: str = "",
    *,
    strict: bool = True,
) -> T:
    """The fields of a request, validated. `strange`: errors found before. `hint`: ends the message.

    Raises:
        InvalidInput: a field is invalid; the message names five at most.
    """
    faults = list(islice(strange, _MAX_FAULTS))
    if not faults:
        try:
            return validate(fields, strict=strict)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            faults = [f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in found[:_MAX_FAULTS]]
    raise InvalidInput(f"{'; '.join(faults)}.{hint}")


def expected(request: Request) -> str | None:
    """The fingerprint that the caller expects by a header; None: any."""
    return request.header(b"x-expect-fingerprint") or None


def in_query(request: Request, kind: type[T]) -> T:
    """The request in the query, where the body holds none of its fields.

    Raises:
        InvalidInput: a field is unknown or of the wrong type; the message names it.
    """
    return _gathered(_query_items(request)).read(kind, request)


def parse(kind: str, request: Request, body: Body, max_json_bytes: int) -> Upload:
    """Take the body and parse it by its media type, `kind`.

    Raises:
        InvalidInput: the body does not match its Content-Type; the query of a form or of JSON has fields; a text
            in a form is not UTF-8.
        UnsupportedMediaType: the Content-Type is none of the three forms, or the charset is not UTF-8 or ASCII.
        BodyTooLarge: the JSON has more than `max_json_bytes` besides its images.
        TooMany: a form has too many parts, or JSON has too many images.
    """
    if is_image(kind):
        upload = _gathered(_query_items(request))
        return upload._replace(images={"images": [body.take()]})
    if kind not in ("multipart/form-data", "application/json"):
        raise UnsupportedMediaType(
            f"Content-Type is {kind[:64] or 'missing'}. "
            "Send multipart/form-data (curl -F image=@cat.jpg -F text=hello), "
            "an image's bytes (curl -H 'Content-Type: image/jpeg' --data-binary @cat.jpg), or application/json."
        )
    options = _options(kind, request)
    if name := request.query.partition(b"&")[0].partition(b"=")[0]:
        shown = unquote_plus(name[:256].decode("latin-1"))[:64]
        raise InvalidInput(
            f"the query has the field `{shown}`; beside a form or JSON all fields go into the body."
        )
    if kind == "application/json":
        images, fields = parse_json(body, max_json_bytes)
        return Upload(images, fields, typed=True)
    return _gathered(parse_form(body.take(), options.get("boundary", "")))


def parse_object(kind: str, request: Request, body: Body, max_json_bytes: int) -> JsonObject:
    """Take the body and parse it as a JSON object, whose images the caller finds.

    Raises:
        UnsupportedMediaType: the Content-Type is not JSON.
        InvalidInput, BodyTooLarge: see `load_object`.
    """
    if kind != "application/json":
        raise UnsupportedMediaType(
            f"Content-Type is {kind[:64] or 'missing'}; this endpoint takes application/json."
        )
    _options(kind, request)
    return load_object(body, max_json_bytes)


def media_type(request: Request) -> str:
    """The Content-Type without its options, in lower case."""
    return request.header(b"content-type")[:_MAX_CONTENT_TYPE].partition(";")[0].strip().lower()


def is_image(kind: str) -> bool:
    """Whether a body of this media type is the bytes of one image."""
    return kind.startswith("image/") or kind == "application/octet-stream"


def _options(kind: str, request: Request) -> dict[str, str]:
    """What the Content-Type says besides the media type, `kind`; its charset is checked."""
    content_type = request.header(b"content-type")
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


def _query_items(request: Request) -> Sequence[tuple[str, str]]:
    return QueryParams(request.query).multi_items() if request.query else ()


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
