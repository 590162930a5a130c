"""Graphs of types that TensorRT takes.

It takes constants of int8 before DequantizeLinear alone ("Int8 constant is only allowed before DQ node"), and the
demo casts those that its weights are stored in. So plans are built from a copy, where such constants are fp32: the
same values, which a Cast to fp32 leaves as they are. What no copy mends is refused before a build.

The image that writes the lines has no `onnx`, and its job little memory: what is needed of ONNX's message is read
where it lies in the file, and all else is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipserve_models.errors import ModelsError

# Numbers of fields in onnx.proto: of the model; its graph; a node; a constant; a value, its type and the
# type of a tensor.
_GRAPH = 7
_NODE, _CONSTANT, _VALUE = 1, 5, 13
_INPUT, _OPERATOR, _DOMAIN = 1, 4, 7
_DATA_TYPE, _CONSTANT_NAME, _RAW_DATA = 2, 8, 9
_VALUE_NAME, _TYPE, _TENSOR_TYPE, _ELEM_TYPE = 1, 2, 1, 1

_NAMES = {1: "fp32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "fp16", 16: "bf16"}
_FLOAT, _UINT8, _INT8 = 1, 2, 3
# What onnxruntime's quantization makes and TensorRT has not.
_UNKNOWN = {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"}


@dataclass
class Types:
    """What a graph says of types. `read`: names that another node than DequantizeLinear reads."""

    constants: dict[str, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)
    operators: list[str] = field(default_factory=list)  # with the domain before it, if it is not ONNX's
    read: set[str] = field(default_factory=set)

    @property
    def cast(self) -> list[str]:
        """Constants of int8 that TensorRT would not take."""
        return [name for name, kind in self.constants.items() if kind == _INT8 and name in self.read]

    def violations(self) -> list[str]:
        """What TensorRT does not take, in words."""
        wrong = {name: kind for name, kind in self.constants.items() if kind not in _NAMES or kind == _UINT8}
        wrong |= {name: kind for name, kind in self.values.items() if kind == _UINT8}
        wrong |= dict.fromkeys(self.cast, _INT8)
        found = [
            f"{name} is {_NAMES.get(kind, f'of the type {kind} of ONNX')}" for name, kind in wrong.items()
        ]
        return found + [f"it has {name}" for name in self.operators if "." in name or name in _UNKNOWN]


def for_tensorrt(folder: Path, graph: str) -> str:
    """The file in `folder` to build a plan of `graph` from: itself, or a copy that is written beside it.

    Raises:
        ModelsError: TensorRT could not read it either.
    """
    name, cast = graph, set(types(folder / graph).cast)
    if cast:
        name = f"{Path(graph).stem}.tensorrt.onnx"
        _write(folder / name, _mapped(folder / graph), cast)
    if found := types(folder / name).violations():
        raise ModelsError(
            f"TensorRT could not read {folder / graph}: {'; '.join(found[:3])}. Build plans of the model in fp32, "
            "or of its fp16 variant: `clipserve models variant --precision fp16` makes one."
        )
    return name


def types(path: Path) -> Types:
    """Of a graph in ONNX's format."""
    found = Types()
    for number, value, _ in _of_graph(_mapped(path)):
        if number == _CONSTANT:
            own = _last(value)
            found.constants[_text(own[_CONSTANT_NAME])] = own[_DATA_TYPE]
        elif number == _VALUE:
            found.values[_text(_last(value)[_VALUE_NAME])] = _elem_type(value)
        elif number == _NODE:
            own = _last(value)
            operator, domain = _text(own[_OPERATOR]), _text(own.get(_DOMAIN, b""))
            found.operators.append(f"{domain}.{operator}" if domain else operator)
            if operator != "DequantizeLinear":
                found.read |= {_text(each) for name, each, _ in _fields(value) if name == _INPUT}
    return found


def _write(path: Path, model: memoryview, cast: set[str]) -> None:
    """The model with these constants in fp32. What it says of int8 between nodes is left out, and known without."""
    graph = list[Any]()
    for number, value, whole in _of_graph(model):
        if number == _CONSTANT and _text(_last(value)[_CONSTANT_NAME]) in cast:
            graph += _dequantized(value) or [whole]
        elif number != _VALUE or _elem_type(value) != _INT8:
            graph.append(whole)
    with path.open("wb") as file:
        for number, _, whole in _fields(model):
            if number != _GRAPH:
                file.write(whole)
        file.write(_head(_GRAPH, sum(map(_size, graph))))
        for each in graph:
            file.write(each.astype("<f4").data if isinstance(each, np.ndarray) else each)


def _size(part: Any) -> int:
    return 4 * part.size if isinstance(part, np.ndarray) else len(part)


def _dequantized(constant: memoryview) -> list[Any]:
    """The constant as a field of a graph, with an array in place of its values; empty if they are elsewhere."""
    if (raw := _last(constant).get(_RAW_DATA)) is None:
        return []
    values = np.frombuffer(raw, np.int8)
    kept = [whole for number, _, whole in _fields(constant) if number not in (_DATA_TYPE, _RAW_DATA)]
    made = [*kept, bytes([_DATA_TYPE << 3, _FLOAT]), _head(_RAW_DATA, _size(values)), values]
    return [_head(_CONSTANT, sum(map(_size, made))), *made]


def _mapped(path: Path) -> memoryview:
    return memoryview(np.memmap(path, np.uint8, "r"))  # type: ignore[arg-type]  # it has a buffer


def _of_graph(model: memoryview) -> Iterator[tuple[int, Any, memoryview]]:
    return (each for number, value, _ in _fields(model) if number == _GRAPH for each in _fields(value))


def _elem_type(value: memoryview) -> int:
    """Of a value between nodes; 0 where it is no tensor, or has no type."""
    tensor = _last(_last(value).get(_TYPE, b"")).get(_TENSOR_TYPE, b"")
    return int(_last(tensor).get(_ELEM_TYPE, 0))


def _last(message: Any) -> dict[int, Any]:
    """Values by number; of those that are repeated the last."""
    return {number: value for number, value, _ in _fields(memoryview(message))}


def _text(value: Any) -> str:
    return bytes(value).decode()


def _fields(message: memoryview) -> Iterator[tuple[int, Any, memoryview]]:
    """Of a message of protocol buffers: number, value (an int, or bytes where they lie) and the whole field."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        value: Any
        if key & 7 == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
            value, at = message[at : at + size], at + size
        yield key >> 3, value, message[start:at]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _head(number: int, size: int) -> bytes:
    """What comes before the bytes of a field."""
    made = bytearray([number << 3 | 2])
    while size > 127:
        made.append(size & 127 | 128)
        size >>= 7
    return bytes([*made, size])
