"""Reads files of weights: safetensors, and pickles of tensors (`pickles`).

A file of safetensors is the length of its header (8 bytes, little-endian), the header in JSON, and the tensors'
bytes (https://huggingface.co/docs/safetensors). The header is read here because the library has no bf16 for numpy,
and its errors name no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from clipserve.files import regular
from clipserve_models.errors import ModelsError
from clipserve_models.pickles import open_pickle
from clipserve_models.tensors import FLOATS, WIDTHS, Tensor, read_values

# Files of weights, open_clip's and transformers'. The first that is there is read: a repository may have the same
# weights for several libraries. Each may be cut into shards, which an index names.
OPEN_CLIP = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
TRANSFORMERS = ("model.safetensors", "pytorch_model.bin")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")  # suffixes

MAX_HEADER_BYTES = 10_000_000  # of 35 to 400 thousand; JSON takes 25 times as much memory


def open_weights(paths: Iterable[Path]) -> dict[str, Tensor]:
    """The tensors of one file, or of several that make one model, by name.

    Raises:
        ModelsError: a file is missing, cut short or malformed, or two have a tensor of the same name.
    """
    tensors: dict[str, Tensor] = {}
    for path in paths:
        found = open_pickle(path) if path.suffix in PICKLES else open_safetensors(path)
        if twice := tensors.keys() & found.keys():
            raise ModelsError(f"{path} has the tensor {min(twice)!r}, which another file has too.")
        tensors |= found
    return tensors


def open_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name. Raises ModelsError as `open_weights`."""
    try:
        with open(regular(path), "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {length:,} bytes, and {MAX_HEADER_BYTES:,} are allowed")
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("a header that is no object")
    except OSError as error:
        raise ModelsError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ModelsError(f"{path} is no safetensors file, or was cut short: it has {error}.") from None
    header.pop("__metadata__", None)
    try:
        return _placed(path, 8 + length, header)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelsError(
            f"{path} is no safetensors file: its header does not give each tensor `dtype`, `shape` and the two "
            "numbers of `data_offsets`. Download the file again."
        ) from error


def _placed(path: Path, start: int, header: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors, whose bytes must follow one another from `start` to the end of the file."""
    tensors, end = {}, 0
    for name, told in sorted(header.items(), key=lambda entry: tuple(entry[1]["data_offsets"])):
        dtype, shape, (first, last) = told["dtype"], tuple(told["shape"]), told["data_offsets"]
        if any(type(number) is not int or number < 0 for number in (*shape, first, last)):
            raise ModelsError(
                f"{path}: the tensor {name!r} has the shape {str(list(shape))[:100]} and the bytes {first!r:.20} "
                f"to {last!r:.20}, where only whole numbers from 0 can be. Download the file again."
            )
        if dtype not in WIDTHS:
            raise ModelsError(
                f"{path}: the tensor {name!r} is of {dtype!r:.20}, which is not read. Save the weights as one of "
                f"{', '.join(WIDTHS)}."
            )
        tensor = Tensor(shape, partial(read_values, path, start + first, shape, dtype), dtype in FLOATS)
        if first != end or last - first != tensor.size * WIDTHS[dtype]:
            raise ModelsError(
                f"{path}: the tensor {name!r} is of {dtype} {list(shape)} and claims the bytes {first:,} to "
                f"{last:,}, which do not fit it or its neighbour. Download the file again."
            )
        tensors[name], end = tensor, last
    if start + end != (size := path.stat().st_size):
        raise ModelsError(
            f"{path} has {size:,} bytes and its header says {start + end:,}: it was cut short or altered. Download "
            "it again."
        )
    return tensors
