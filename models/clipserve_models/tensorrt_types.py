"""Makes graphs with only the types that TensorRT supports.

It supports int8 constants only before DequantizeLinear ("Int8 constant is only allowed before DQ node"), but the
demo stores weights in int8 and casts them. So plans are built from a copy with such constants in fp32: the same
values, which the Cast to fp32 does not change. uint8 it supports only as a graph's input that a Cast reads. Graphs
that no copy corrects are refused before a build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from clipserve_models.errors import ModelsError

PIXELS = "pixels"
_NAMES = {1: "fp32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "fp16", 16: "bf16"}
_UINT8, _INT8 = TensorProto.UINT8, TensorProto.INT8
# Operators of onnxruntime's quantization that TensorRT lacks.
_UNKNOWN = {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"}


def for_tensorrt(folder: Path, graph: str) -> str:
    """The file to build the plan of `graph` from: the graph itself, or a corrected copy written beside it.

    Raises:
        ModelsError: TensorRT could not read the copy either.
    """
    model, name = onnx.load(folder / graph, load_external_data=False), graph
    if cast := _cast(model.graph):
        _dequantize(model.graph, cast)
        name = f"{Path(graph).stem}.tensorrt.onnx"
        (folder / name).write_bytes(model.SerializeToString())
    if found := violations(model.graph):
        raise ModelsError(
            f"TensorRT could not read {folder / graph}: {'; '.join(found[:3])}. Build plans of the model in fp32, "
            "or of its fp16 variant: `clipserve models variant --precision fp16` makes one."
        )
    return name


def violations(graph: Any) -> list[str]:
    """The features of a graph that TensorRT does not support, in words."""
    types = {each.name: each.data_type for each in graph.initializer}
    wrong = {name: kind for name, kind in types.items() if kind not in _NAMES or kind == _UINT8}
    wrong |= {each.name: _UINT8 for each in graph.value_info if each.type.tensor_type.elem_type == _UINT8}
    wrong |= dict.fromkeys(_cast(graph), _INT8)
    readers = [node.op_type for node in graph.node if PIXELS in node.input]
    found = [f"{operator} reads {PIXELS}" for operator in readers if operator != "Cast"]
    found += [f"{len(readers)} nodes read {PIXELS}"] if len(readers) > 1 else []
    found += [f"{name} is {_NAMES.get(kind, f'of the type {kind} of ONNX')}" for name, kind in wrong.items()]
    operators = [f"{node.domain}.{node.op_type}".lstrip(".") for node in graph.node]
    return found + [f"it has {name}" for name in operators if "." in name or name in _UNKNOWN]


def _cast(graph: Any) -> list[str]:
    """int8 constants that TensorRT would refuse, because another node than DequantizeLinear reads them."""
    read = {name for node in graph.node if node.op_type != "DequantizeLinear" for name in node.input}
    return [each.name for each in graph.initializer if each.data_type == _INT8 and each.name in read]


def _dequantize(graph: Any, names: list[str]) -> None:
    """Convert these constants to fp32. Drops int8 type annotations between nodes, which are inferred anyway."""
    for each in graph.initializer:
        if each.name in names and each.HasField("raw_data"):
            each.raw_data = np.frombuffer(each.raw_data, np.int8).astype("<f4").tobytes()
            each.data_type = TensorProto.FLOAT
    kept = [each for each in graph.value_info if each.type.tensor_type.elem_type != _INT8]
    del graph.value_info[:]
    graph.value_info.extend(kept)
