"""The three forms of a request, read into one: multipart, the bytes of one image, JSON with base64."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import orjson
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.application.encoder import ImageInput
from service.errors import BodyTooLarge, InvalidInput, TooMany, UndecodableImage, UnsupportedMediaType

Fields = TypeVar("Fields", bound=BaseModel)

# In a form a field is repeated rather than a list, so its singular reads better; both are understood.
_FORM_NAMES = {"text": "texts", "label": "labels", "template": "templates"}
_LISTS = frozenset(_FORM_NAMES.values())
_MAX_PARTS = 4_096
_MAX_FAULTS = 5
_CHARSETS = ("utf-8", "us-ascii")
# One of these is before each item of a list and each field of an object in JSON; base64 has none of them.
_BEFORE_VALUES = b",[{"


@dataclass(frozen=True)
class Upload:
    """Images, and every other field as the client wrote it. `typed`: JSON, where "5" is not a number."""

    images: Sequence[ImageInput]
    fields: dict[str, Any]
    typed: bool

    def read(self, schema: type[Fields]) -> Fields:
        """The fields by their schema.

        Raises:
            InvalidInput: one is missing, unknown or of the wrong type; names it.
        """
        said = list(islice(_faults(self.fields, schema), _MAX_FAULTS))
        if not said:
            try:
                return schema.model_validate(self.fields, strict=self.typed)
            except ValidationError as error:
                faults = error.errors(include_url=False, include_input=False, include_context=False)
                said = [f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults[:_MAX_FAULTS]]
        raise InvalidInput(f"{'; '.join(said)}. Known fields: images, {', '.join(schema.model_fields)}.")


def _faults(fields: dict[str, Any], schema: type[BaseModel]) -> Iterator[str]:
    """What a request can have wrong any number of times. Pydantic would build an error for each."""
    for name, value in fields.items():
        if name not in schema.model_fields:
            yield f"{name[:64]}: no such field"
        elif name not in _LISTS:
            continue
        elif not isinstance(value, list):
            yield f"{name}: must be a list of strings"
        elif (
            wrong := next((i for i, item in enumerate(value) if not isinstance(item, str)), None)
        ) is not None:
            yield f"{name}.{wrong}: must be a string"


class _InMemory(MultiPartParser):
    """Starlette's parser without its temporary files: the body is in memory, and bounded, already.

    Its text is UTF-8 and nothing else. Starlette would read what is not as Latin-1.
    """

    spool_max_size = 1 << 40

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        _, options = parse_options_header(self._current_part.content_disposition)
        self._current_part.field_name = _utf8(options[b"name"], "the name of a field")

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is None:
            value = _utf8(part.data, f"the value of the field `{part.field_name[:64]}`")
            self.items.append((part.field_name, value))
        else:
            super().on_part_end()


def _utf8(value: bytes | bytearray, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{what} is not valid UTF-8.") from None


async def read_upload(request: Request, max_json_bytes: int) -> Upload:
    """Read the request by its Content-Type.

    Raises:
        InvalidInput: the body is not what its Content-Type says; fields in the query beside a form or JSON; text
            in a form that is not UTF-8.
        UnsupportedMediaType: a Content-Type that is none of the three forms; a charset that is not UTF-8 or ASCII.
        BodyTooLarge: the JSON holds more than `max_json_bytes` besides its images.
        TooMany: a form has too many parts, or JSON too many images.
    """
    header = request.headers.get("content-type", "")
    content_type = header.partition(";")[0].strip().lower()
    if content_type in ("multipart/form-data", "application/json"):
        _check_charset(header)
        if request.query_params:
            raise InvalidInput(
                f"the query has the field `{next(iter(request.query_params))[:64]}`; beside a form or JSON "
                "all fields go into the body."
            )
    if content_type == "multipart/form-data":
        return await _multipart(request)
    if content_type == "application/json":
        return _json(await request.body(), max_json_bytes)
    if content_type.startswith("image/") or content_type == "application/octet-stream":
        fields = _gathered((key, value) for key, value in request.query_params.multi_items())
        return Upload([await request.body()], fields, typed=False)
    raise UnsupportedMediaType(
        f"Content-Type is {content_type[:64] or 'missing'}. "
        "Send multipart/form-data (curl -F image=@cat.jpg -F text=hello), "
        "an image's bytes (curl -H 'Content-Type: image/jpeg' --data-binary @cat.jpg), or application/json."
    )


def _check_charset(content_type: str) -> None:
    """Some of Python's codecs take a time that is quadratic, or fail in ways of their own."""
    charset = parse_options_header(content_type)[1].get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in _CHARSETS:
        raise UnsupportedMediaType(
            f"the charset {charset[:32]} is not accepted: send {' or '.join(_CHARSETS)}."
        )


async def _multipart(request: Request) -> Upload:
    try:
        parser = _InMemory(
            request.headers,
            request.stream(),
            max_files=_MAX_PARTS,
            max_fields=_MAX_PARTS,
            max_part_size=1 << 40,
        )
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many"):
            raise TooMany(f"the form has more than {_MAX_PARTS:,} parts.", limit=_MAX_PARTS) from None
        raise InvalidInput(f"the body is not multipart/form-data: {error.message}") from None
    try:
        images = [await _image(value) for value in _images(form)]
        rest = ((key, value) for key, value in form.multi_items() if key not in ("image", "images"))
        return Upload(images, _gathered(rest), typed=False)
    finally:
        await form.close()  # frees the parser's own copies of the files


def _images(form: FormData) -> list[UploadFile | str]:
    return [value for key, value in form.multi_items() if key in ("image", "images")]


async def _image(value: UploadFile | str) -> bytes:
    if isinstance(value, str):
        raise InvalidInput(
            "the field `image` is text, not a file. With curl, write -F image=@cat.jpg, with the @."
        )
    return await value.read()


def _gathered(items: Iterable[tuple[str, UploadFile | str]]) -> dict[str, Any]:
    """Repeated fields as lists, the others as they are."""
    fields: dict[str, Any] = {}
    for key, value in items:
        if not isinstance(value, str):
            raise InvalidInput(f"the field `{key[:64]}` is a file; images go into the field `image`.")
        name = _FORM_NAMES.get(key, key)
        if name in _LISTS:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise InvalidInput(f"the field `{name[:64]}` is given more than once.")
        else:
            fields[name] = value
    return fields


def _json(body: bytes, max_json_bytes: int) -> Upload:
    if len(body) > max_json_bytes:
        # Parsed, a few bytes may be a hundred: that many values are refused before.
        _check_besides(_values(body), max_json_bytes, "or more ")
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error.msg} at character {error.pos}.") from None
    if not isinstance(fields, dict):
        raise InvalidInput(
            'the body must be a JSON object, such as {"images": ["<base64>"], "labels": ["cat"]}.'
        )
    encoded = fields.pop("images", [])
    if not isinstance(encoded, list) or not all(isinstance(image, str) for image in encoded):
        raise InvalidInput("images: must be a list of base64 strings or data URIs.")
    _check_besides(len(body) - sum(map(len, encoded)), max_json_bytes)
    if len(encoded) > _MAX_PARTS:
        raise TooMany(f"the JSON has more than {_MAX_PARTS:,} images.", limit=_MAX_PARTS, actual=len(encoded))
    return Upload([_base64(i, image) for i, image in enumerate(encoded)], fields, typed=True)


def _values(body: bytes) -> int:
    """As many as the JSON has items and fields, or more, but no more than its bytes besides images in base64."""
    array = np.frombuffer(body, np.uint8)  # bytes.count takes five times as long
    return sum(int(np.count_nonzero(array == byte)) for byte in _BEFORE_VALUES)


def _check_besides(besides: int, limit: int, or_more: str = "") -> None:
    if besides > limit:
        raise BodyTooLarge(
            f"the JSON has {besides:,} bytes {or_more}besides its images; the limit is {limit:,}.",
            limit=limit,
            actual=besides,
        )


def _base64(index: int, text: str) -> ImageInput:
    """Standard base64, bare or in a data URI. Nothing is fetched: a URL is an error like any other text."""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            return UndecodableImage(f"image {index} is a data URI without ;base64.", index=index)
    elif text.startswith(("http://", "https://", "file:")):
        return UndecodableImage(
            f"image {index} is a URL; send the image itself, URLs are not fetched.", index=index
        )
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return UndecodableImage(f"image {index} is not valid base64.", index=index)
