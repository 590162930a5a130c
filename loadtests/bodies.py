"""Makes request bodies: photographs of given sizes, and forms with them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import numpy as np
from PIL import Image

GRAIN = 5.0  # of brightness, of 255 steps: 640 x 480 pixels then have about 70 KB, as photographs do
_TILE = 512  # pixels of grain, repeated
# Allowed answers to an invalid image. Not 429: a refused request was not read.
_BAD_IMAGE = frozenset({400, 413, 415, 422})


@dataclass(frozen=True)
class Call:
    """One prepared HTTP request, the same for every number. `expected`: the statuses of a correct answer."""

    path: str
    body: bytes
    content_type: str
    expected: frozenset[int] = frozenset({200})

    def __call__(self, _: int) -> Call:
        return self


Calls = Callable[[int], Call]  # number -> request


def photo(width: int, height: int) -> bytes:
    """scikit-image's photograph of a rocket as a JPEG of this size.

    The original has 640 x 427 pixels; enlarged without the grain of a sensor it has no detail, and is encoded and
    decoded too fast.
    """
    import skimage.data  # optional: not installed with the service and the load tests' own parts

    picture = Image.fromarray(skimage.data.rocket())
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    tile = np.random.default_rng(0).normal(0, GRAIN, (_TILE, _TILE, 1)).round().astype(np.int16)
    noise = np.tile(tile, (-(-height // _TILE), -(-width // _TILE), 1))[:height, :width]
    picture = Image.fromarray((np.asarray(picture) + noise).clip(0, 255).astype(np.uint8))  # [H, W, 3]
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def embed(image: bytes) -> Call:
    """POST /embed with the image as the body."""
    return Call("/embed", image, "image/jpeg")


def embed_form(image: bytes) -> Call:
    """POST /embed with the image in a form."""
    edge = "0123456789abcdef"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="photo.jpg"\r\n'
    body = head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + image + f"\r\n--{edge}--\r\n".encode()
    return Call("/embed", body, f"multipart/form-data; boundary={edge}")


def embed_many(images: Sequence[bytes]) -> Call:
    """POST /embed with several images as JSON."""
    return Call("/embed", json.dumps({"images": [*map(json_image, images)]}).encode(), "application/json")


def embed_text(text: str) -> Call:
    """POST /embed with one text as JSON."""
    return Call("/embed", json.dumps({"texts": [text]}).encode(), "application/json")


def classify(image: bytes, labels: list[str]) -> Call:
    """POST /classify with the image as the body and the labels in the query."""
    return Call("/classify?" + urlencode({"labels": labels}, doseq=True), image, "image/jpeg")


def json_image(image: bytes) -> str:
    """The image as JSON has it."""
    return base64.b64encode(image).decode()


def classify_json(image: str, labels: list[str]) -> Call:
    """POST /classify as JSON, for labels too many for a query. `image`: as from `json_image`, encoded once."""
    body = f'{{"images": ["{image}"], "labels": {json.dumps(labels)}}}'
    return Call("/classify", body.encode(), "application/json")


def broken_image() -> Call:
    """POST /embed with half a JPEG: an error of the caller."""
    image = photo(320, 240)
    return Call("/embed", image[: len(image) // 2], "image/jpeg", _BAD_IMAGE)
