"""Makes images and texts as inputs: the same on every machine, and all different."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.clip.reference import REFERENCE_TEXTS, reference_pixels
from clipserve.clip.tokenizer import TokenizedText, Tokenizer, load_tokenizer
from clipserve.engine.backend import Embeddings

_PHOTO = Path(__file__).parents[2] / "docs" / "cat.jpg"
_WORDS = "a the photo of cat dog red car tree on in old house near river man big sea night sun two"
_CHUNK = 16  # rows of a call that computes the reference

Feeds = dict[str, Any]  # an input of the graph -> its rows


@dataclass(frozen=True)
class Case:
    """Rows for one encoder. `exported`: reference inputs with the vectors of the export, for one length of text."""

    name: str  # image, text of 16 tokens
    graph: str
    feeds: Feeds
    expected: Embeddings  # of all rows, [N, D], computed on this CPU in fp32
    exported: tuple[Feeds, Embeddings] | None


def cases(artifact: Path, lengths: tuple[int, ...], most: int) -> Iterator[Case]:
    """`most` images, and as many texts of each padded length. `artifact`: the one in fp32."""
    manifest = read_manifest(artifact)
    tokenizer, stored, size = load_tokenizer(artifact, manifest.text), manifest.reference, manifest.image.size
    exported = {"pixels": reference_pixels(size)}, np.asarray(stored.image_embeddings, np.float32)
    feeds = pixels(most, size)
    yield Case("image", IMAGE_GRAPH, feeds, _computed(artifact / IMAGE_GRAPH, feeds), exported)
    rows = tokenizer.encode(REFERENCE_TEXTS, truncate=True)
    fitting = min(each for each in lengths if each >= max(len(row.ids) for row in rows))
    exported = _padded(tokenizer, rows, fitting), np.asarray(stored.text_embeddings, np.float32)
    for length in lengths:
        name, feeds = f"text of {length} tokens", texts(most, length, tokenizer)
        expected = _computed(artifact / TEXT_GRAPH, feeds)
        yield Case(name, TEXT_GRAPH, feeds, expected, exported if length == fitting else None)


def _computed(graph: Path, feeds: Feeds) -> Embeddings:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    rows = len(next(iter(feeds.values())))
    parts = [session.run(None, part(feeds, _CHUNK, n))[0] for n in range(0, rows, _CHUNK)]
    return np.asarray(np.concatenate(parts), np.float32)


def crops(number: int, size: tuple[int, int]) -> list[Image.Image]:
    """Fixed parts of one photograph, turned, brighter or darker."""
    photo, chance, made = Image.open(_PHOTO).convert("RGB"), random.Random(0), []
    for _ in range(number):
        side = chance.randint(80, min(photo.size))
        left, top = chance.randint(0, photo.width - side), chance.randint(0, photo.height - side)
        piece = photo.crop((left, top, left + side, top + side)).rotate(90 * chance.randrange(4))
        brightness = chance.uniform(0.4, 1.6)
        made.append(piece.resize(size).point(lambda value, by=brightness: min(255, int(value * by))))
    return made


def pixels(number: int, size: int) -> Feeds:
    """uint8 [number, size, size, 3]."""
    return {"pixels": np.stack([np.asarray(image) for image in crops(number, (size, size))])}


def jpegs(number: int) -> list[bytes]:
    """Of 640 x 480 pixels."""
    made = []
    for image in crops(number, (640, 480)):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        made.append(file.getvalue())
    return made


def texts(number: int, length: int, tokenizer: Tokenizer) -> Feeds:
    """int32 [number, length] and [number]: texts of any number of tokens up to `length`."""
    chance, rows = random.Random(length), list[TokenizedText]()
    while len(rows) < number:
        words = " ".join(chance.choices(_WORDS.split(), k=chance.randint(1, length)))
        (row,) = tokenizer.encode([words], truncate=True)
        if len(row.ids) <= length and not row.truncated:
            rows.append(row)
    return _padded(tokenizer, rows, length)


def _padded(tokenizer: Tokenizer, rows: list[TokenizedText], length: int) -> Feeds:
    token_ids, lengths = tokenizer.pad(rows, length)
    return {"token_ids": token_ids, "lengths": lengths}


def part(feeds: Feeds, rows: int, start: int = 0) -> Feeds:
    """`rows` rows of each input."""
    return {name: array[start : start + rows] for name, array in feeds.items()}
