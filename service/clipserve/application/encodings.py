"""Vectors as answers have them, in the type that a request asks for. docs/api.md says how each affects a search.

With int8 each vector has its own scale, because the values of a unit vector of 512 dimensions are about 0.04: in
steps of 1/127 they would have five levels. A cosine does not need the scale.

Values are little-endian and in the order of the vector; the first bit of a byte is its highest.

| encoding | of D values | what it is |
| --- | --- | --- |
| float32 | 4 D bytes | the vector as the model gives it |
| float16 | 2 D bytes | each value rounded |
| int8 | D bytes | round(value / scale), where the largest becomes 127 or -127; `scale` belongs to the vector |
| ubinary | D / 8 bytes | one bit a value: whether it is above zero (numpy.packbits) |
| binary | D / 8 bytes | the same bytes less 128, as int8: what sentence-transformers and Cohere call binary |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clipserve.api.answers import ImageVector, TextVector
from clipserve.api.requests import EmbeddingType
from clipserve.application.encoder import EncodedText, VectorOrError
from clipserve.engine.backend import Vector
from clipserve.errors import ClipError

_INT8_MAX = 127


class Encoded(NamedTuple):
    """An encoded vector. `values`: [D], or [D / 8] bytes of bits. `scale`: for int8, value = scale * integer."""

    values: npt.NDArray[Any]
    scale: float | None = None


def _int8(vector: Vector) -> Encoded:
    scale = float(np.abs(vector).max()) / _INT8_MAX or 1.0
    return Encoded(np.rint(vector / scale).astype(np.int8), scale)


def _bits(vector: Vector) -> npt.NDArray[np.uint8]:
    return np.packbits(vector > 0)  # [D / 8]; the last byte is padded with zeros


# Each encodes a vector, float32 [D], finite.
ENCODERS: Mapping[EmbeddingType, Callable[[Vector], Encoded]] = {
    "float32": lambda vector: Encoded(np.ascontiguousarray(vector, "<f4")),
    "float16": lambda vector: Encoded(vector.astype("<f2")),
    "int8": _int8,
    "binary": lambda vector: Encoded((_bits(vector).astype(np.int16) - 128).astype(np.int8)),
    "ubinary": lambda vector: Encoded(_bits(vector)),
}


def encoded(
    images: Sequence[VectorOrError], texts: Sequence[EncodedText], embedding_type: EmbeddingType
) -> list[TextVector | ImageVector | ClipError]:
    """The result for each image, then for each text."""
    encode = ENCODERS[embedding_type]
    results: list[TextVector | ImageVector | ClipError] = []
    for image in images:
        if isinstance(image, ClipError):
            results.append(image)
        else:
            values, scale = encode(image)
            results.append(ImageVector(values, scale=scale))
    for text in texts:
        values, scale = encode(text.vector)
        results.append(TextVector(values, text.tokens, text.truncated, scale=scale))
    return results
