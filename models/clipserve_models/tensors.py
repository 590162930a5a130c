"""Tensors of files, which are read one at a time, when they are needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# Types by the names of safetensors, and their bytes. Only the first row becomes values; numpy has no bf16.
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
WIDTHS |= {"U8": 1, "I8": 1, "BOOL": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8}


@dataclass(frozen=True)
class Tensor:
    """A tensor that is read when asked; `read` gives its values in fp32, whatever their type in the file."""

    shape: tuple[int, ...]
    read: Callable[[], Floats]
    floating: bool = True

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    @property
    def transposed(self) -> Tensor:
        """Its last dimension first."""
        return Tensor(self.shape[::-1], lambda: np.ascontiguousarray(self.read().T), self.floating)

    def reshaped(self, *shape: int) -> Tensor:
        """The same values in another shape. Raises ValueError: these are more or fewer."""
        if math.prod(shape) != self.size:
            raise ValueError(f"{list(self.shape)} cannot become {list(shape)}")
        return Tensor(shape, lambda: self.read().reshape(shape), self.floating)

    def rows(self, start: int, stop: int | None = None) -> Tensor:
        """Those of its first dimension from `start` up to `stop`."""
        count = len(range(*slice(start, stop).indices(self.shape[0])))
        return Tensor((count, *self.shape[1:]), lambda: self.read()[start:stop], self.floating)


def concatenated(parts: Sequence[Tensor]) -> Tensor:
    """The tensors one after the other in the first dimension. Raises ValueError: their other dimensions differ."""
    if len({part.shape[1:] for part in parts}) != 1:
        raise ValueError(f"{[list(part.shape) for part in parts]} cannot be joined")
    shape = sum(part.shape[0] for part in parts), *parts[0].shape[1:]
    return Tensor(
        shape, lambda: np.concatenate([part.read() for part in parts]), all(part.floating for part in parts)
    )


def constant(values: npt.ArrayLike) -> Tensor:
    """A tensor of these values."""
    array = np.asarray(values, np.float32)
    return Tensor(array.shape, lambda: array)


def read_values(path: Path, offset: int, shape: tuple[int, ...], dtype: str) -> Floats:
    """Values of a file: those in fp32 stay there until they are used, so a lookup reads a few rows."""
    if 0 in shape:
        return np.zeros(shape, np.float32)
    values = np.asarray(np.memmap(path, FLOATS[dtype], "r", offset, shape))
    if dtype == "BF16":  # the upper half of an fp32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)
