"""Reads tensors of safetensors files one at a time, when they are needed.

A file is the length of its header (8 bytes, little-endian), the header in JSON, and the tensors' bytes
(https://huggingface.co/docs/safetensors). The header is read here because the library's numpy reader has no bf16,
and its errors name no file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipserve.files import regular
from clipserve_models.errors import ModelsError

Floats = npt.NDArray[np.float32]

# Files of weights without their suffix, open_clip's two and transformers'. The first that is there is read: a
# repository may have the same weights for several libraries.
STEMS = ("open_clip_model", "open_clip_pytorch_model", "model")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")  # suffixes

MAX_HEADER_BYTES = 10_000_000  # of 35 to 400 thousand; JSON takes 25 times as much memory
_BITS = {"U8": 8, "I8": 8, "BOOL": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64}
_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # numpy has no bf16


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


def open_weights(paths: Iterable[Path]) -> dict[str, Tensor]:
    """The tensors of one file, or of several that make one model, by name.

    Raises:
        ModelsError: a file is missing, cut short or malformed, or two have a tensor of the same name.
    """
    tensors: dict[str, Tensor] = {}
    for path in paths:
        found = _tensors(path)
        if twice := tensors.keys() & found.keys():
            raise ModelsError(f"{path} has the tensor {min(twice)!r}, which another file has too.")
        tensors |= found
    return tensors


def _tensors(path: Path) -> dict[str, Tensor]:
    header, start, size = _header(path)
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    try:
        for name, told in sorted(header.items(), key=lambda entry: tuple(entry[1]["data_offsets"])):
            tensor, (first, last) = _tensor(path, start, told), told["data_offsets"]
            if first != end or last - first != _bytes(told["dtype"], tensor.size):
                raise ModelsError(
                    f"{path}: the tensor {name!r} is of {told['dtype']} {list(tensor.shape)} and claims the bytes "
                    f"{first:,} to {last:,}, which do not fit it or its neighbour. Download the file again."
                )
            tensors[name], end = tensor, last
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelsError(f"{path} is no safetensors file: its header says {error!r}.") from None
    if start + end != size:
        raise ModelsError(
            f"{path} has {size:,} bytes and its header says {start + end:,}: it was cut short or altered. Download "
            "it again."
        )
    return tensors


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header, the position of the first tensor, and the size of the file."""
    try:
        with open(regular(path), "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {length:,} bytes, and {MAX_HEADER_BYTES:,} are allowed")
            header = json.loads(file.read(length))
            if not isinstance(header, dict):
                raise ValueError("a header that is no object")
            return header, 8 + length, path.stat().st_size
    except OSError as error:
        raise ModelsError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ModelsError(f"{path} is no safetensors file, or was cut short: it has {error}.") from None


def _tensor(path: Path, start: int, told: dict[str, Any]) -> Tensor:
    shape, (first, last) = tuple(told["shape"]), told["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (*shape, first, last)):
        raise ValueError(f"the numbers {told}")
    dtype = told["dtype"]
    return Tensor(shape, partial(_read, path, start + first, shape, dtype), dtype in _FLOATS)


def _bytes(dtype: str, size: int) -> int:
    bits = _BITS[dtype] if dtype in _BITS else 8 * np.dtype(_FLOATS[dtype]).itemsize
    return size * bits // 8


def _read(path: Path, offset: int, shape: tuple[int, ...], dtype: str) -> Floats:
    """Values of the file: those in fp32 stay there until they are used, so a lookup reads a few rows."""
    if 0 in shape:
        return np.zeros(shape, np.float32)
    values = np.asarray(np.memmap(path, _FLOATS[dtype], "r", offset, shape))
    if dtype == "BF16":  # the upper half of an fp32
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32, copy=False)
