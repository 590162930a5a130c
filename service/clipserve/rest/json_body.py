"""Parses JSON with images in base64. Limits are checked before."""

from __future__ import annotations

import binascii
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from clipserve.api.fields import ImageInput, ImageSource, ImageUrl
from clipserve.application.body import Body
from clipserve.application.fetched import not_fetched
from clipserve.errors import BodyTooLarge, InvalidInput, TooMany, UndecodableImage, check_limit

MAX_IMAGES = 4_096
IMAGE_FIELDS = ("images", "to_images")
# One of these precedes each item of a list and each field of an object in JSON; base64 has none of them.
_BEFORE_VALUES = b",[{"
_BYTES_A_VALUE = 8  # of JSON besides its images, on average at least; in memory a value takes a hundred
_URLS = ("http://", "https://")
_PIECE = 1 << 20  # bytes of one call; divisible by 4, like base64


@dataclass(frozen=True)
class JsonObject:
    """A JSON object whose images are still base64. `size`: its bytes. `max_besides`: the limit without images."""

    fields: dict[str, Any]
    size: int
    max_besides: int

    def check_images(self, encoded: Collection[str]) -> None:
        """Check the limits. Call it with all images before decoding one.

        Raises:
            BodyTooLarge: the JSON has too many bytes besides the images.
            TooMany: there are more than MAX_IMAGES images.
        """
        besides = self.size - sum(map(len, encoded))
        check_limit(BodyTooLarge, "the JSON has {:,} bytes besides its images", besides, self.max_besides)
        if (count := len(encoded)) > MAX_IMAGES:
            raise TooMany(f"the JSON has more than {MAX_IMAGES:,} images.", limit=MAX_IMAGES, actual=count)


def load_object(body: Body, max_json_bytes: int) -> JsonObject:
    """Take the body and parse it.

    Raises:
        InvalidInput: the body is not a JSON object.
        TooMany: it has more than 4,096 commas and brackets, and one for each 8 bytes of `max_json_bytes`.
    """
    data = body.take()
    most = MAX_IMAGES + max_json_bytes // _BYTES_A_VALUE
    if len(data) > most:  # before parsing
        check_limit(TooMany, "the JSON has {:,} commas and brackets", _before_values(data), most)
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error.msg} at character {error.pos}.") from None
    if not isinstance(fields, dict):
        raise InvalidInput(
            'the body must be a JSON object, such as {"images": ["<base64>"], "labels": ["cat"]}.'
        )
    return JsonObject(fields, len(data), max_json_bytes)


def parse_json(body: Body, max_json_bytes: int) -> tuple[dict[str, list[ImageSource]], dict[str, Any]]:
    """The images by field, decoded, and the other fields.

    Raises:
        InvalidInput: the body is not a JSON object, or a field of images is not a list of strings.
        BodyTooLarge: it has more than `max_json_bytes` besides its images.
        TooMany: it has more than MAX_IMAGES images.
    """
    loaded = load_object(body, max_json_bytes)
    fields = loaded.fields
    if fields.keys().isdisjoint(IMAGE_FIELDS):
        loaded.check_images(())
        return {}, fields
    encoded = {name: _strings(name, fields.pop(name)) for name in IMAGE_FIELDS if name in fields}
    loaded.check_images([image for images in encoded.values() for image in images])
    return {
        name: [image_of(i, image) for i, image in enumerate(images)] for name, images in encoded.items()
    }, fields


def _strings(name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(image, str) for image in value):
        raise InvalidInput(f"{name}: must be a list of base64 strings or data URIs.")
    return value


def _before_values(data: bytes) -> int:
    """As many as the JSON has items and fields, or more: its strings may hold such bytes too."""
    array = np.frombuffer(data, np.uint8)  # bytes.count takes five times as long
    pieces = (array[start : start + _PIECE] for start in range(0, len(array), _PIECE))
    return sum(int(np.count_nonzero(piece == byte)) for piece in pieces for byte in _BEFORE_VALUES)


def image_of(index: int, text: str) -> ImageSource:
    """The image of a base64 string or data URI, or an `ImageUrl` to fetch later."""
    return ImageUrl(text) if text.startswith(_URLS) else decode_base64(index, text)


def decode_base64(index: int | None, text: str) -> ImageInput:
    """Decode standard base64, bare or in a data URI. A URL is an error.

    `index`: of the image in the request, for errors; None: the caller names the image.
    """
    name = "the image" if index is None else f"image {index}"
    start = 0
    if text.startswith("data:"):
        start = text.find(",") + 1 or len(text)
        if not text.endswith(";base64,", 0, start):
            return UndecodableImage(f"{name} is a data URI without ;base64.", index=index)
    elif text.startswith((*_URLS, "file:")):
        return not_fetched(name, index)
    try:
        return b"".join(_decoded(text, start))
    except ValueError:
        detail = f"{name} is not valid base64. Send the file's bytes in base64: a path is not read."
        return UndecodableImage(detail, index=index)


def _decoded(text: str, start: int) -> Iterator[bytes]:
    """Base64 in pieces: a call holds the interpreter's lock, for 60 ms if it is of 20 MB.

    Raises:
        ValueError: it is not strictly base64.
    """
    for at in range(start, len(text), _PIECE):
        piece = binascii.a2b_base64(text[at : at + _PIECE], strict_mode=True)
        if at + _PIECE < len(text) and len(piece) != _PIECE // 4 * 3:
            raise ValueError("padding before the end")
        yield piece
