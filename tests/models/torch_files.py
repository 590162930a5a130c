"""Files as `torch.save` writes them, and programs in place of their pickles: no test here needs PyTorch."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]
START, END = b"\x80\x02", b"."
_KINDS = {"<f4": "FloatStorage", "<f2": "HalfStorage", "<i8": "LongStorage"}


def word(text: str) -> bytes:
    raw = text.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little", signed=True)


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(
    key: str,
    shape: tuple[int, ...],
    *,
    kind: str = "FloatStorage",
    count: int | None = None,
    offset: int = 0,
    strides: tuple[int, ...] | None = None,
) -> bytes:
    """What rebuilds a tensor of the storage `key`."""
    if strides is None:
        strides = tuple(int(np.prod(shape[place + 1 :])) for place in range(len(shape)))
    size = int(np.prod(shape)) if count is None else count
    storage = b"(" + word("storage") + name("torch", kind) + word(key) + word("cpu") + number(size) + b"tQ"
    hooks = name("collections", "OrderedDict") + b")R"
    arguments = storage + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + hooks
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def with_attributes(
    made: bytes,
    *,
    called: bytes = name("torch._utils", "_rebuild_tensor_v2"),
    kind: bytes = name("torch", "Tensor"),
    attributes: bytes = b"}",
) -> bytes:
    """What rebuilds the tensor `made` with attributes, as a buffer of a module is saved."""
    arguments = made.removeprefix(name("torch._utils", "_rebuild_tensor_v2")).removesuffix(b"R")
    return (
        name("torch._tensor", "_rebuild_from_type_v2") + b"(" + called + kind + arguments + attributes + b"tR"
    )


def state(tensors: Mapping[str, bytes]) -> bytes:
    """A program whose result is an ordered dictionary."""
    items = b"".join(word(key) + value for key, value in tensors.items())
    return START + name("collections", "OrderedDict") + b")R(" + items + b"u" + END


def write(path: Path, program: bytes, data: Mapping[str, bytes], how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", "little")
        for key, raw in data.items():
            archive.writestr(f"archive/data/{key}", raw)
        archive.writestr("archive/version", "3\n")


def write_torch(
    path: Path, arrays: Arrays, wrapped: Callable[[bytes], bytes] = lambda program: program
) -> None:
    """As `torch.save` writes a state dict; `wrapped` changes its program."""
    tensors, data = {}, {}
    for place, (key, array) in enumerate(arrays.items()):
        values = np.ascontiguousarray(array).reshape(np.shape(array))
        tensors[key] = tensor(str(place), values.shape, kind=_KINDS[values.dtype.str])
        data[str(place)] = values.tobytes()
    write(path, wrapped(state(tensors)), data)
