"""Request bodies: photographs of stated sizes, and the forms that carry them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from urllib.parse import urlencode

import skimage.data
from PIL import Image


@dataclass(frozen=True)
class Call:
    """One prepared HTTP request, sent again and again."""

    path: str
    body: bytes
    content_type: str


def photo(width: int, height: int, quality: int = 85) -> bytes:
    """scikit-image's photograph of a rocket as a JPEG of this size."""
    file = io.BytesIO()
    picture = Image.fromarray(skimage.data.rocket()).resize((width, height), Image.Resampling.LANCZOS)
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def embed(image: bytes) -> Call:
    """POST /embed with the image as the body."""
    return Call("/embed", image, "image/jpeg")


def classify(image: bytes, labels: list[str]) -> Call:
    """POST /classify with the image as the body and the labels in the query."""
    return Call("/classify?" + urlencode({"labels": labels}, doseq=True), image, "image/jpeg")
