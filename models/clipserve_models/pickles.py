"""Reads the tensors of files that `torch.save` wrote, without PyTorch, and runs nothing of them.

Such a file is a zip archive: `data.pkl`, a pickle, says which tensors there are, and each file below `data/` is the
bytes of a storage. A pickle is a program. This one is not given to Python's `pickle`: `_Machine` does the few steps
that build dictionaries of tensors, knows the names in `_NAMES` alone, and calls nothing.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clipserve.files import regular
from clipserve_models.errors import ModelsError, first_line
from clipserve_models.tensors import FLOATS, WIDTHS, Tensor, read_values

MAX_PROGRAM_BYTES = 4_000_000  # of data.pkl; a checkpoint of training has 0.5 million
_MAX_FILES = 50_000  # of the archive; a model has some hundred
_MAX_DIMENSIONS = 8
_LOCAL_HEADER = 30  # bytes before a file's name in a zip archive
_STORAGES = {
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "DoubleStorage": "F64",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_DICT, _TENSOR, _PARAMETER = "OrderedDict", "_rebuild_tensor_v2", "_rebuild_parameter"
_NAMES = {("collections", _DICT), ("torch._utils", _TENSOR), ("torch._utils", _PARAMETER)}
_NAMES |= {("torch", name) for name in _STORAGES}


class _Refused(Exception):
    """The file is none of weights alone; the message goes on from its name."""


@dataclass(frozen=True)
class _Name:
    """One of `_NAMES`."""

    name: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    count: int


def open_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; of a checkpoint of training those of the model.

    Raises:
        ModelsError: the file is cut short, compressed or older than PyTorch 1.6, or says anything but tensors.
    """
    try:
        with open(regular(path), "rb") as file, zipfile.ZipFile(file) as archive:
            members = _members(archive)
            root = _root(members)
            told = _Machine(archive.read(members[f"{root}data.pkl"])).run()
            storages = _Storages(path, file, members, f"{root}data/")
            return {name: storages.tensor(name, *parts) for name, parts in _state_of(told).items()}
    except OSError as error:
        raise ModelsError(f"{path} cannot be read: {error.strerror}.") from None
    except zipfile.BadZipFile:
        raise ModelsError(
            f"{path} is no file that PyTorch 1.6 or later has saved, or was cut short: save its weights again, as "
            "safetensors."
        ) from None
    except (_Refused, ValueError, KeyError, TypeError, IndexError, struct.error, RecursionError) as error:
        raise ModelsError(
            f"{path} is no pickle of weights alone: {first_line(error)}. Nothing of it was run. Save the model's "
            "weights as safetensors."
        ) from None


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    found = archive.infolist()
    if len(found) > _MAX_FILES:
        raise _Refused(f"it has {len(found):,} files inside, and {_MAX_FILES:,} are allowed")
    for member in found:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise _Refused(f"{member.filename!r} inside is compressed, which PyTorch never does")
    return {member.filename: member for member in found}


def _root(members: Mapping[str, zipfile.ZipInfo]) -> str:
    """The folder of data.pkl, with a slash."""
    roots = [
        name.removesuffix("data.pkl")
        for name in members
        if name.count("/") == 1 and name.endswith("/data.pkl")
    ]
    if len(roots) != 1:
        raise _Refused("it has no data.pkl inside")
    if f"{roots[0]}constants.pkl" in members:
        raise _Refused("it is a program of TorchScript")
    if (size := members[f"{roots[0]}data.pkl"].file_size) > MAX_PROGRAM_BYTES:
        raise _Refused(f"its data.pkl has {size:,} bytes, and {MAX_PROGRAM_BYTES:,} are allowed")
    order = f"{roots[0]}byteorder"
    if order in members and members[order].file_size != len("little"):
        raise _Refused("its numbers are big-endian")
    return roots[0]


def _state_of(told: Any) -> dict[str, tuple[Any, ...]]:
    """The arguments of each tensor's rebuilding, by the tensor's name."""
    for key in ("state_dict", "model"):
        if isinstance(told, dict) and isinstance(told.get(key), dict):
            told = told[key]
    if not isinstance(told, dict) or not told:
        raise _Refused("it holds no dictionary of tensors")
    for name, value in told.items():
        if not isinstance(value, tuple) or value[:1] != (_TENSOR,):
            raise _Refused(f"{str(name)[:80]!r} in it is no tensor")
    return {str(name).removeprefix("module."): value[1:] for name, value in told.items()}


@dataclass
class _Storages:
    """The bytes of an archive's storages."""

    path: Path
    file: Any
    members: Mapping[str, zipfile.ZipInfo]
    folder: str

    def tensor(self, name: str, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
        """Raises _Refused: it is no part of its storage, or its values do not follow each other."""
        if (
            not isinstance(storage, _Storage)
            or not isinstance(shape, tuple)
            or not isinstance(strides, tuple)
        ):
            raise _Refused(f"{name!r} in it is no tensor")
        numbers = (offset, storage.count, *shape, *strides)
        if any(type(number) is not int or not 0 <= number < 2**50 for number in numbers):
            raise _Refused(f"the shape of the tensor {name!r} is no shape")
        if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS:
            raise _Refused(f"the tensor {name!r} has {len(shape)} dimensions and {len(strides)} steps")
        size, dense = math.prod(shape), 1
        for side, step in zip(reversed(shape), reversed(strides), strict=True):
            if side > 1 and step != dense:
                raise _Refused(f"the values of the tensor {name!r} do not follow each other")
            dense *= side
        member = self.members.get(f"{self.folder}{storage.key}")
        width = WIDTHS[storage.dtype]
        if member is None or offset + size > storage.count or storage.count * width > member.file_size:
            raise _Refused(f"the tensor {name!r} ends behind its storage {storage.key!r}")
        start = self._start(member) + offset * width
        return Tensor(
            shape, partial(read_values, self.path, start, shape, storage.dtype), storage.dtype in FLOATS
        )

    def _start(self, member: zipfile.ZipInfo) -> int:
        """Where the bytes of a file in the archive begin."""
        self.file.seek(member.header_offset)
        name, extra = struct.unpack("<HH", self.file.read(_LOCAL_HEADER)[26:])
        start: int = member.header_offset + _LOCAL_HEADER + name + extra
        if start + member.file_size > self.file.seek(0, io.SEEK_END):
            raise _Refused(f"{member.filename!r} inside ends behind the file")
        return start


_MARK = object()
_EMPTY: dict[str, Any] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "NONE": lambda: None}
_EMPTY |= {"MARK": lambda: _MARK, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False}
_VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The steps of a pickle that build dictionaries, lists, tuples and tensors."""

    def __init__(self, program: bytes) -> None:
        self._steps = pickletools.genops(program)
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the program builds. Raises _Refused: it does anything else."""
        for step, argument, _ in self._steps:
            if step.name == "STOP":
                return self._stack.pop()
            self._do(step.name, argument)
        raise _Refused("it has no end")

    def _do(self, step: str, argument: Any) -> None:
        stack = self._stack
        if step in _EMPTY:
            stack.append(_EMPTY[step]())
        elif step in _VALUES:
            stack.append(argument)
        elif step in _TUPLES:
            stack[-_TUPLES[step] :] = [tuple(stack[-_TUPLES[step] :])]
        elif step == "TUPLE":
            stack.append(tuple(self._marked()))
        elif step in ("SETITEM", "SETITEMS", "APPEND", "APPENDS"):
            self._fill(step)
        elif step in ("GLOBAL", "STACK_GLOBAL"):
            self._name(argument.split(" ", 1) if step == "GLOBAL" else [stack.pop(-2), stack.pop()])
        elif step == "BINPERSID":
            stack.append(_storage(stack.pop()))
        elif step == "REDUCE":
            arguments, name = stack.pop(), stack.pop()
            stack.append(_made(name, arguments))
        elif step in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if step == "MEMOIZE" else argument] = stack[-1]
        elif step in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif step == "BUILD":
            if not isinstance(stack.pop(), dict) or not isinstance(stack[-1], dict):
                raise _Refused("it changes an object")  # a state dict's own facts, `_metadata`, are dropped
        elif step not in ("PROTO", "FRAME"):
            raise _Refused(f"it asks for the step {step}, which no weights need")

    def _name(self, words: list[Any]) -> None:
        module, name = (word if isinstance(word, str) else "?" for word in words)
        if (module, name) not in _NAMES:
            raise _Refused(f"it asks for {module[:60]}.{name[:60]}, which is no part of a tensor")
        self._stack.append(_Name(name))

    def _marked(self) -> list[Any]:
        """What stands behind the last mark, which goes."""
        at = max(place for place, value in enumerate(self._stack) if value is _MARK)
        values = self._stack[at + 1 :]
        del self._stack[at:]
        return values

    def _fill(self, step: str) -> None:
        count = {"SETITEM": 2, "APPEND": 1}.get(step)
        if count:
            values = self._stack[-count:]
            del self._stack[-count:]
        else:
            values = self._marked()
        target = self._stack[-1]
        if isinstance(target, list) and step.startswith("APPEND"):
            target.extend(values)
        elif isinstance(target, dict) and step.startswith("SETITEM"):
            if any(type(key) not in (str, int) for key in values[::2]):
                raise _Refused("it has a dictionary whose keys are neither words nor numbers")
            target.update(zip(values[::2], values[1::2], strict=True))
        else:
            raise _Refused("it fills what is no dictionary or list")


def _storage(told: Any) -> _Storage:
    """Of a persistent id: ("storage", its type, its key, a device, its number of values)."""
    if isinstance(told, tuple) and len(told) == 5 and told[0] == "storage":
        _, kind, key, _, count = told
        if isinstance(kind, _Name) and kind.name in _STORAGES and isinstance(key, str):
            return _Storage(_STORAGES[kind.name], key, count)
    raise _Refused("it names a storage that is none")


def _made(name: Any, arguments: Any) -> Any:
    """What a call of one of `_NAMES` would give: a dictionary, or the facts of a tensor."""
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        raise _Refused("it calls what is no part of a tensor")
    if name.name == _DICT and not arguments:
        return {}
    if name.name == _TENSOR and len(arguments) >= 4:
        return (_TENSOR, *arguments)
    if name.name == _PARAMETER and arguments and isinstance(arguments[0], tuple):
        return arguments[0]
    raise _Refused(f"it calls {name.name} with what makes no tensor")
