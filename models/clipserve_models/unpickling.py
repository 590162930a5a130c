"""The steps of a pickle that build dictionaries of tensors: it calls nothing, and knows a few names of PyTorch."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import Any

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
_DICT, TENSOR, _SIZE = "OrderedDict", "_rebuild_tensor_v2", "Size"
_PARAMETERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
_WITH_ATTRIBUTES, _TYPES = "_rebuild_from_type_v2", ("Tensor", "Parameter")
# A part of what PyTorch's own reader of weights allows (torch/_weights_only_unpickler.py).
_NAMES = {("collections", _DICT), ("torch._tensor", _WITH_ATTRIBUTES), ("torch.nn.parameter", "Parameter")}
_NAMES |= {("torch._utils", name) for name in (TENSOR, *_PARAMETERS)}
_NAMES |= {("torch", name) for name in (*_STORAGES, _SIZE, "Tensor")}


class Refused(Exception):
    """The file is none of weights alone; the message goes on from its name."""


@dataclass(frozen=True)
class _Name:
    """One of `_NAMES`."""

    name: str


@dataclass(frozen=True)
class Storage:
    dtype: str
    key: str
    count: int


_MARK = object()
_EMPTY: dict[str, Any] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "NONE": lambda: None}
_EMPTY |= {"MARK": lambda: _MARK, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False}
_VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """The steps of a pickle that build dictionaries, lists, tuples and tensors."""

    def __init__(self, program: bytes) -> None:
        self._steps = pickletools.genops(program)
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the program builds. Raises Refused: it does anything else."""
        for step, argument, _ in self._steps:
            if step.name == "STOP":
                if len(self._stack) != 1:
                    raise Refused(f"it ends with {len(self._stack)} values, and not with one")
                return self._stack.pop()
            self._do(step.name, argument)
        raise Refused("it has no end")

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
                raise Refused("it changes an object")  # a state dict's own facts, `_metadata`, are dropped
        elif step not in ("PROTO", "FRAME"):
            raise Refused(f"it asks for the step {step}, which no weights need")

    def _name(self, words: list[Any]) -> None:
        module, name = (word if isinstance(word, str) else "?" for word in words)
        if (module, name) not in _NAMES:
            raise Refused(f"it asks for {module[:60]}.{name[:60]}, which is no part of a tensor")
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
                raise Refused("it has a dictionary whose keys are neither words nor numbers")
            target.update(zip(values[::2], values[1::2], strict=True))
        else:
            raise Refused("it fills what is no dictionary or list")


def _storage(told: Any) -> Storage:
    """Of a persistent id: ("storage", its type, its key, a device, its number of values)."""
    if isinstance(told, tuple) and len(told) == 5 and told[0] == "storage":
        _, kind, key, _, count = told
        if isinstance(kind, _Name) and kind.name in _STORAGES and isinstance(key, str):
            return Storage(_STORAGES[kind.name], key, count)
    raise Refused("it names a storage that is none")


def _made(name: Any, arguments: Any) -> Any:
    """What a call of one of `_NAMES` would give: a dictionary, a shape, or the facts of a tensor.

    The attributes of a tensor or parameter are dropped: they are no values.
    """
    if not isinstance(name, _Name) or not isinstance(arguments, tuple):
        raise Refused("it calls what is no part of a tensor")
    match name.name, arguments:
        case "OrderedDict", ():
            return {}
        case "Size", (tuple() as shape,):
            return shape
        case "_rebuild_tensor_v2", (_, _, _, _, *_):
            return (TENSOR, *arguments)
        case (
            ("_rebuild_parameter" | "_rebuild_parameter_with_state"),
            (("_rebuild_tensor_v2", *_) as data, *_),
        ):
            return data
        case "_rebuild_from_type_v2", (_Name() as called, _Name() as kind, inner, _):
            if kind.name not in _TYPES:
                raise Refused(f"it makes a tensor of the type {kind.name}")
            if called.name in (TENSOR, *_PARAMETERS):
                return _made(called, inner)
    raise Refused(f"it calls {name.name} with what makes no tensor")
