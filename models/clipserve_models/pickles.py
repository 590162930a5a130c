"""Reads the tensors of files that `torch.save` wrote, without PyTorch, and runs nothing of them.

Such a file is a zip archive: `data.pkl`, a pickle, says which tensors there are, and each file below `data/` is the
bytes of a storage. A pickle is a program. This one is not given to Python's `pickle`: `unpickling`
builds dictionaries of tensors, and calls nothing.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clipserve.files import regular
from clipserve_models.errors import ModelsError, first_line
from clipserve_models.tensors import FLOATS, WIDTHS, Tensor, read_values
from clipserve_models.unpickling import TENSOR, Machine, Refused, Storage

MAX_PROGRAM_BYTES = 4_000_000  # of data.pkl; a checkpoint of training has 0.5 million
_MAX_FILES = 50_000  # of the archive; a model has some hundred
_MAX_DIMENSIONS = 8
_LOCAL_HEADER = 30  # bytes before a file's name in a zip archive


def open_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; of a checkpoint of training those of the model.

    Raises:
        ModelsError: the file is cut short, compressed or older than PyTorch 1.6, or says anything but tensors.
    """
    try:
        with open(regular(path), "rb") as file, zipfile.ZipFile(file) as archive:
            members = _members(archive)
            root = _root(members)
            told = Machine(archive.read(members[f"{root}data.pkl"])).run()
            storages = _Storages(path, file, members, f"{root}data/")
            return {name: storages.tensor(name, *parts) for name, parts in _state_of(told).items()}
    except OSError as error:
        raise ModelsError(f"{path} cannot be read: {error.strerror}.") from None
    except zipfile.BadZipFile:
        raise ModelsError(
            f"{path} is no file that PyTorch 1.6 or later has saved, or was cut short: save its weights again, as "
            "safetensors."
        ) from None
    except (Refused, ValueError, KeyError, TypeError, IndexError, struct.error, RecursionError) as error:
        raise ModelsError(
            f"{path} is no pickle of weights alone: {first_line(error)}. Nothing of it was run. Save the model's "
            "weights as safetensors."
        ) from None


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    found = archive.infolist()
    if len(found) > _MAX_FILES:
        raise Refused(f"it has {len(found):,} files inside, and {_MAX_FILES:,} are allowed")
    for member in found:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise Refused(f"{member.filename!r} inside is compressed, which PyTorch never does")
    return {member.filename: member for member in found}


def _root(members: Mapping[str, zipfile.ZipInfo]) -> str:
    """The folder of data.pkl, with a slash."""
    roots = [
        name.removesuffix("data.pkl")
        for name in members
        if name.count("/") == 1 and name.endswith("/data.pkl")
    ]
    if len(roots) != 1:
        raise Refused("it has no data.pkl inside")
    if f"{roots[0]}constants.pkl" in members:
        raise Refused("it is a program of TorchScript")
    if (size := members[f"{roots[0]}data.pkl"].file_size) > MAX_PROGRAM_BYTES:
        raise Refused(f"its data.pkl has {size:,} bytes, and {MAX_PROGRAM_BYTES:,} are allowed")
    order = f"{roots[0]}byteorder"
    if order in members and members[order].file_size != len("little"):
        raise Refused("its numbers are big-endian")
    return roots[0]


def _state_of(told: Any) -> dict[str, tuple[Any, ...]]:
    """The arguments of each tensor's rebuilding, by the tensor's name."""
    for key in ("state_dict", "model"):
        if isinstance(told, dict) and isinstance(told.get(key), dict):
            told = told[key]
    if not isinstance(told, dict) or not told:
        raise Refused("it holds no dictionary of tensors")
    for name, value in told.items():
        if not isinstance(value, tuple) or value[:1] != (TENSOR,):
            raise Refused(f"{str(name)[:80]!r} in it is no tensor")
    return {str(name).removeprefix("module."): value[1:] for name, value in told.items()}


@dataclass
class _Storages:
    """The bytes of an archive's storages."""

    path: Path
    file: Any
    members: Mapping[str, zipfile.ZipInfo]
    folder: str

    def tensor(self, name: str, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
        """Raises Refused: it is no part of its storage, or has a value twice."""
        if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise Refused(f"{name!r} in it is no tensor")
        numbers = (offset, storage.count, *shape, *strides)
        if any(type(number) is not int or not 0 <= number < 2**50 for number in numbers):
            raise Refused(f"the shape of the tensor {name!r} is no shape")
        if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS:
            raise Refused(f"the tensor {name!r} has {len(shape)} dimensions and {len(strides)} steps")
        # Turned tensors are saved as they are: the dimension of the largest step is the outermost.
        order = sorted(range(len(shape)), key=lambda place: (-strides[place], place))
        outer, dense = tuple(shape[place] for place in order), 1
        for place in reversed(order):
            if shape[place] > 1 and strides[place] != dense:
                raise Refused(f"the values of the tensor {name!r} do not follow each other")
            dense *= shape[place]
        member = self.members.get(f"{self.folder}{storage.key}")
        width = WIDTHS[storage.dtype]
        if member is None or offset + dense > storage.count or storage.count * width > member.file_size:
            raise Refused(f"the tensor {name!r} ends behind its storage {storage.key!r}")
        start = self._start(member) + offset * width
        read = partial(read_values, self.path, start, outer, storage.dtype)
        turned = tuple(order.index(place) for place in range(len(shape)))
        in_order = turned == tuple(range(len(shape)))
        own = read if in_order else lambda: np.ascontiguousarray(read().transpose(turned))
        return Tensor(shape, own, storage.dtype in FLOATS)

    def _start(self, member: zipfile.ZipInfo) -> int:
        """Where the bytes of a file in the archive begin."""
        self.file.seek(member.header_offset)
        name, extra = struct.unpack("<HH", self.file.read(_LOCAL_HEADER)[26:])
        start: int = member.header_offset + _LOCAL_HEADER + name + extra
        if start + member.file_size > self.file.seek(0, io.SEEK_END):
            raise Refused(f"{member.filename!r} inside ends behind the file")
        return start
