"""Rows as a gateway sends them: photographs, and texts of real lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import skimage.data
import tritonclient.grpc as client
from PIL import Image

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.tokenizer import TokenizedText, Tokenizer, load_tokenizer
from loadtests.words import phrase

Rows = dict[str, npt.NDArray[Any]]  # an input of the graph -> its rows; all have the same number


@dataclass(frozen=True)
class Inputs:
    """Makes rows for one artifact."""

    manifest: ModelManifest
    tokenizer: Tokenizer

    @classmethod
    def of(cls, artifact: Path) -> Inputs:
        manifest = read_manifest(artifact)
        return cls(manifest, load_tokenizer(artifact, manifest.text))

    def images(self, count: int, seed: int = 0) -> Rows:
        """Pieces of a photograph, uint8 [N, S, S, 3]."""
        chance, size = np.random.default_rng(seed), self.manifest.image.size
        photo = Image.fromarray(skimage.data.rocket())  # type: ignore[no-untyped-call]
        pieces = []
        for _ in range(count):
            side = int(chance.integers(100, 400))
            left, top = (int(chance.integers(0, length - side)) for length in photo.size)
            piece = photo.crop((left, top, left + side, top + side))
            pieces.append(np.asarray(piece.resize((size, size), Image.Resampling.BICUBIC)))
        return {"pixels": np.stack(pieces)}

    def texts(self, count: int, length: int, shorter: int = 0, first: int = 0) -> Rows:
        """Texts of more than `shorter` and at most `length` tokens, no two alike, padded to `length`."""
        texts = [self._text(first + number, length, shorter) for number in range(count)]
        token_ids, lengths = self.tokenizer.pad(texts, length)
        return {"token_ids": token_ids, "lengths": lengths}

    def _text(self, number: int, length: int, shorter: int) -> TokenizedText:
        words = f"a photo of a {phrase(number)}"
        (text,) = self.tokenizer.encode([words], truncate=True)
        aim = shorter + 1 + (number * 7) % (length - shorter)
        while len(text.ids) < aim:
            number += 1_000_003
            words = f"{words} and a {phrase(number)}"
            (text,) = self.tokenizer.encode([words], truncate=True)
        return _cut(text, length)


def _cut(text: TokenizedText, length: int) -> TokenizedText:
    """Its first tokens, and the one that ends it."""
    if len(text.ids) <= length:
        return text
    return TokenizedText([*text.ids[: length - 1], text.ids[-1]], length)


def tensors(rows: Rows) -> list[client.InferInput]:
    """As Triton takes them: `lengths` is [N, 1] on the wire."""
    made = []
    for name, array in rows.items():
        shaped = array.reshape(-1, 1) if array.ndim == 1 else array
        kind = "UINT8" if array.dtype == np.uint8 else "INT32"
        tensor = client.InferInput(name, list(shaped.shape), kind)
        tensor.set_data_from_numpy(np.ascontiguousarray(shaped))
        made.append(tensor)
    return made


def part(rows: Rows, start: int, stop: int) -> Rows:
    """Some of the rows."""
    return {name: array[start:stop] for name, array in rows.items()}


def count(rows: Rows) -> int:
    """How many there are."""
    return len(next(iter(rows.values())))


def bounds(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Each length with the one below it, whose texts are shorter."""
    return list(zip([0, *lengths], lengths, strict=False))
