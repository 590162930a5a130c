"""Images and texts to compute: made here, the same on every machine, each unlike the others."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipserve.clip.manifest import TextSpec
from clipserve.clip.tokenizer import TokenizedText, Tokenizer

_PHOTO = Path(__file__).parents[2] / "docs" / "cat.jpg"
_WORDS = "a the photo of cat dog red car tree on in old house near river man big sea night sun two"
_LENGTHS = (16, 32, 77)

Feeds = dict[str, Any]


def crops(count: int, size: tuple[int, int]) -> list[Image.Image]:
    """Parts of one photograph, of a fixed choice: turned, mirrored, brighter or darker."""
    photo, chance, made = Image.open(_PHOTO).convert("RGB"), random.Random(0), []
    for _ in range(count):
        side = chance.randint(80, min(photo.size))
        left, top = chance.randint(0, photo.width - side), chance.randint(0, photo.height - side)
        part = photo.crop((left, top, left + side, top + side)).rotate(90 * chance.randrange(4))
        brightness = chance.uniform(0.4, 1.6)
        made.append(part.resize(size).point(lambda value, by=brightness: min(255, int(value * by))))
    return made


def pixels(count: int, size: int) -> Feeds:
    """uint8 [count, size, size, 3]."""
    return {"pixels": np.stack([np.asarray(image) for image in crops(count, (size, size))])}


def jpegs(count: int) -> list[bytes]:
    """Of 640 x 480 pixels."""
    made = []
    for image in crops(count, (640, 480)):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        made.append(file.getvalue())
    return made


def lengths_of(spec: TextSpec) -> list[int]:
    """Lengths to try: 16, 32 and 77 tokens, as far as the model has them."""
    if spec.padding == "fixed":
        return [spec.context_length]
    return [length for length in _LENGTHS if length <= spec.context_length] or [spec.context_length]


def texts(count: int, length: int, tokenizer: Tokenizer) -> Feeds:
    """int32 [count, length] and [count]: texts of any number of tokens up to `length`."""
    chance, rows = random.Random(length), list[TokenizedText]()
    while len(rows) < count:
        words = " ".join(chance.choices(_WORDS.split(), k=chance.randint(1, length)))
        (row,) = tokenizer.encode([words], truncate=True)
        if len(row.ids) <= length and not row.truncated:
            rows.append(row)
    token_ids, lengths = tokenizer.pad(rows, length)
    return {"token_ids": token_ids, "lengths": lengths}


def first(feeds: Feeds, rows: int, start: int = 0) -> Feeds:
    """`rows` rows of each input."""
    return {name: array[start : start + rows] for name, array in feeds.items()}
