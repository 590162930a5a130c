"""Graphs of types that TensorRT takes.

It takes constants of int8 before DequantizeLinear alone ("Int8 constant is only allowed before DQ node"), and the
demo casts those that its weights are stored in. So plans are built from a copy, where such constants are fp32: the
same values, which a Cast to fp32 leaves as they are. What no copy mends is refused before a build.

The image that writes the lines has no `onnx`: of ONNX's message the fields below are read, and all others are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from clipserve_models.errors import ModelsError

# The numbers are those of onnx.proto.
_MESSAGES = {
    "Model": {"graph": (7, "Graph")},
    "Graph": {"node": (1, "Node*"), "initializer": (5, "Tensor*"), "value_info": (13, "Value*")},
    "Node": {"input": (1, "string*"), "op_type": (4, "string"), "domain": (7, "string")},
    "Tensor": {"data_type": (2, "int32"), "name": (8, "string"), "raw_data": (9, "bytes")},
    "Value": {"name": (1, "string"), "type": (2, "Type")},
    "Type": {"tensor_type": (1, "TensorType")},
    "TensorType": {"elem_type": (1, "int32")},
}
_NAMES = {1: "fp32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "fp16", 16: "bf16"}
_FLOAT, _UINT8, _INT8 = 1, 2, 3
_TAKEN = {*_NAMES} - {_UINT8, _INT8}
# What onnxruntime's quantization makes and TensorRT has not.
_UNKNOWN = {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"}


def for_tensorrt(folder: Path, graph: str) -> str:
    """The file in `folder` to build a plan of `graph` from: itself, or a copy that is written beside it.

    Raises:
        ModelsError: TensorRT could not read it either.
    """
    model = _model()
    model.ParseFromString((folder / graph).read_bytes())
    name, written = f"{Path(graph).stem}.tensorrt.onnx", _dequantize(model.graph)
    if found := violations(model.graph):
        raise ModelsError(
            f"TensorRT could not read {folder / graph}: {'; '.join(found[:3])}. Build plans of the model in fp32, "
            "or of its fp16 variant: `clipserve models variant --precision fp16` makes one."
        )
    if written:
        (folder / name).write_bytes(model.SerializeToString())
    return name if written else graph


def violations(graph: Any) -> list[str]:
    """Constants, values and nodes of a graph that TensorRT does not take, in words."""
    found = [f"{each.name} is {_named(each.data_type)}" for each in _casted(graph)]
    found += [
        f"{each.name} is {_named(each.data_type)}"
        for each in graph.initializer
        if each.data_type not in {*_TAKEN, _INT8}
    ]
    found += [f"{each.name} is uint8" for each in graph.value_info if _type(each) == _UINT8]
    return found + [
        f"it has the node {node.domain or 'ONNX'} {node.op_type}"
        for node in graph.node
        if node.domain or node.op_type in _UNKNOWN
    ]


def _casted(graph: Any) -> list[Any]:
    """Constants of int8 that another node than DequantizeLinear reads."""
    read = {name for node in graph.node if node.op_type != "DequantizeLinear" for name in node.input}
    return [each for each in graph.initializer if each.data_type == _INT8 and each.name in read]


def _dequantize(graph: Any) -> bool:
    """Make those fp32, if their values are in the file. Whether there were any."""
    changed = [each for each in _casted(graph) if each.raw_data]
    for each in changed:
        each.raw_data = np.frombuffer(each.raw_data, np.int8).astype("<f4").tobytes()
        each.data_type = _FLOAT
    if changed:  # what is said of their types between nodes is known without it, and is another one now
        kept = [value for value in graph.value_info if _type(value) != _INT8]
        del graph.value_info[:]
        graph.value_info.extend(kept)
    return bool(changed)


def _type(value: Any) -> int:
    return int(value.type.tensor_type.elem_type)


def _named(data_type: int) -> str:
    return _NAMES.get(data_type, f"of ONNX's type {data_type}")


def _model() -> Any:
    """An empty message."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="onnx_part.proto", package="onnx_part", syntax="proto2")
    for message, members in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, (number, kind) in members.items():
            plain = kind.rstrip("*")
            label = kinds.LABEL_REPEATED if kind != plain else kinds.LABEL_OPTIONAL
            field = made.field.add(name=name, number=number, label=label)
            if plain in _MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".onnx_part.{plain}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("onnx_part.Model"))()
