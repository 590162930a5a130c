"""Finds in a graph the types and operators that TensorRT does not support, so that it is refused before a build.

int8 is for constants before DequantizeLinear, uint8 for a graph's input that one Cast reads. Stored uint8 constants
become int32 in its parser, except zero points of activations, which must be zeros of int8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from clipserve_models.errors import ModelsError

PIXELS = "pixels"
_NAMES = {1: "fp32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "fp16", 16: "bf16"}
_UINT8, _INT8 = TensorProto.UINT8, TensorProto.INT8
_SCALES = ("QuantizeLinear", "DequantizeLinear")
# Operators of onnxruntime's quantization that TensorRT lacks, and one that it has from 10.14 on, not for fp32.
_UNKNOWN = {
    "Attention",
    "ConvInteger",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
}


def check_graph(path: Path) -> None:
    """Raises ModelsError: TensorRT could not read the graph."""
    if found := violations(onnx.load(path, load_external_data=False).graph):
        raise ModelsError(
            f"TensorRT could not read {path}: {'; '.join(found[:3])}. Build plans of the model in fp32, or of its "
            "fp16 variant: `clipserve models variant --precision fp16` makes one."
        )


def violations(graph: Any) -> list[str]:
    """The features of a graph that TensorRT does not support, in words."""
    types = {each.name: each.data_type for each in graph.initializer}
    scaled = {name for node in graph.node if node.op_type in _SCALES for name in node.input}
    plain = {name for node in graph.node if node.op_type != "DequantizeLinear" for name in node.input}
    refused = {_UINT8: scaled, _INT8: plain}
    wrong = {
        name: kind for name, kind in types.items() if kind not in _NAMES or name in refused.get(kind, ())
    }
    between = (each for each in graph.value_info if each.name not in types)
    wrong |= {each.name: _UINT8 for each in between if each.type.tensor_type.elem_type == _UINT8}
    readers = [node.op_type for node in graph.node if PIXELS in node.input]
    found = [f"{operator} reads {PIXELS}" for operator in readers if operator != "Cast"]
    found += [f"{len(readers)} nodes read {PIXELS}"] if len(readers) > 1 else []
    found += [f"{name} is {_NAMES.get(kind, f'of the type {kind} of ONNX')}" for name, kind in wrong.items()]
    operators = [f"{node.domain}.{node.op_type}".lstrip(".") for node in graph.node]
    return found + [f"it has {name}" for name in operators if "." in name or name in _UNKNOWN]
