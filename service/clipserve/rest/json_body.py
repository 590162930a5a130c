"""Parses JSON with images in base64. Limits are checked before."""

from __future__ import annotations

import binascii
from typing import Any

import numpy as np
import orjson

from clipserve.api.fields import ImageInput, ImageSource, ImageUrl
from clipserve.application.body import Body
from clipserve.application.fetched import not_fetched
from clipserve.errors import InvalidInput, TooMany, UndecodableImage, check_limit

JsonObject = dict[str, Any]

MAX_IMAGES = 4_096
IMAGE_FIELDS = ("images", "to_images")
# One of these precedes each item of a list and each field of an object in JSON; base64 has none of them.
_BEFORE_VALUES = b",[{"
_BYTES_A_VALUE = 8  # of JSON besides its images, on average at least; in memory a value takes a hundred
_URLS = ("http://", "https://")


def load_object(body: Body, max_json_bytes: int) -> JsonObject:
    """Take the body and parse it.

    Raises:
        InvalidInput: the body is not a JSON object.
        TooMany: it has more than 4,096 commas and brackets, and one for each 8 bytes of `max_json_bytes`.
    """
    data = body.take()
    most = MAX_IMAGES + max_json_bytes // _BYTES_A_VALUE
    if len(data) > most:
        array = np.frombuffer(data, np.uint8)  # bytes.count takes five times as long
        values = sum(int(np.count_nonzero(array == byte)) for byte in _BEFORE_VALUES)  # strings have some too
        check_limit(TooMany, "the JSON has {:,} commas and brackets", values, most)
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error.msg} at character {error.pos}.") from None
    if not isinstance(fields, dict):
        raise InvalidInput(
            'the body must be a JSON object, such as {"images": ["<base64>"], "labels": ["cat"]}.'
        )
    return fields


def decode_images(fields: JsonObject) -> None:
    """Decode the images among the fields.

    Raises:
        InvalidInput: a field of images is not a list of strings.
        TooMany: it has more than MAX_IMAGES.
    """
    for name in filter(fields.__contains__, IMAGE_FIELDS):
        images = fields[name]
        if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
            raise InvalidInput(f"{name}: must be a list of base64 strings or data URIs.")
        check_limit(TooMany, name + " has {:,} images", len(images), MAX_IMAGES)
        fields[name] = [image_of(index, image) for index, image in enumerate(images)]


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
        return binascii.a2b_base64(text[start:], strict_mode=True)
    except ValueError:
        detail = f"{name} is not valid base64. Send the file's bytes in base64: a path is not read."
        return UndecodableImage(detail, index=index)
