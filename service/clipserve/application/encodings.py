"""Encodings of vectors in fewer bytes. docs/api.md says how each affects a search.

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

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clipserve.api.requests import EmbeddingType
from clipserve.engine.backend import Vector

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
