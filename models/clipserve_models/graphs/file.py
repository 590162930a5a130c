"""Writes an ONNX file whose weights are never in memory together.

A protobuf message is its fields, one after the other, each behind its length. So the lengths are computed first,
and each weight is read when its place in the file has come.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from clipserve.clip.protobuf import head
from clipserve_models.architecture import AnyImageTower, AnyTextTower, Bert, ImageTower, ResNet, TextTower
from clipserve_models.tensors import Tensor, constant

OPSET, IR_VERSION = 18, 8  # onnxruntime reads both from 1.14 on
# A protobuf message cannot be larger than 2 GiB. Weights larger than this are written to a file beside the graph.
INLINE_BYTES = 1_800_000_000
_SMALL_BYTES = 1_024  # the sizes that a runtime must know before it opens that file
# Keys of metadata.
_TOWERS = {
    "clipserve.image": ImageTower,
    "clipserve.resnet": ResNet,
    "clipserve.text": TextTower,
    "clipserve.bert": Bert,
}
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # numbers of onnx.proto's fields


@dataclass
class Graph:
    """A graph that grows node by node. `half`: it computes in fp16, but for what is `full`.

    Its methods give names of values, which other nodes take.
    """

    weights: Mapping[str, Tensor]
    half: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, tuple[Tensor, int]] = field(default_factory=dict)  # with their types
    scope: str = ""

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one value."""
        name = name or f"{self.scope}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def split(self, value: str, parts: int) -> list[str]:
        """Cut the last dimension into equal parts."""
        name = f"{self.scope}Split_{len(self.nodes)}"
        names = [f"{name}.{part}" for part in range(parts)]
        self.nodes.append(helper.make_node("Split", [value], names, name, axis=-1, num_outputs=parts))
        return names

    def weight(self, name: str, *, full: bool = False) -> str:
        """A weight by its name; `full`: it stays fp32 in half precision."""
        self.initializers[name] = self.weights[name], self._type(full)
        return name

    def number(self, value: float, *, full: bool = False) -> str:
        """A scalar."""
        name = f"{value:g}"
        self.initializers[name] = constant(value), self._type(full)
        return name

    def integers(self, *values: int) -> str:
        """A list of int64, such as a shape; of numbers that fp32 has."""
        name = f"{list(values)}"
        self.initializers[name] = constant(values), TensorProto.INT64
        return name

    def to_half(self, value: str) -> str:
        """The value in the precision that the graph computes in."""
        return self.node("Cast", value, to=TensorProto.FLOAT16) if self.half else value

    def to_full(self, value: str) -> str:
        """The value in fp32, of a value in the precision that the graph computes in."""
        return self.node("Cast", value, to=TensorProto.FLOAT) if self.half else value

    def _type(self, full: bool) -> int:
        return int(TensorProto.FLOAT16 if self.half and not full else TensorProto.FLOAT)

    def save(
        self,
        path: Path,
        inputs: list[onnx.ValueInfoProto],
        tower: AnyImageTower | AnyTextTower,
        embed_dim: int,
        inline_bytes: int = INLINE_BYTES,
    ) -> None:
        """Write the graph, whose last node gives the embedding; weights above `inline_bytes` go to PATH.data."""
        output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", embed_dim])
        graph = helper.make_graph(self.nodes, path.stem, inputs, [output])
        body = graph.SerializeToString(deterministic=True)
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="clipserve")
        model.opset_import.append(helper.make_opsetid("", OPSET))
        (key,) = (key for key, kind in _TOWERS.items() if isinstance(tower, kind))
        facts = {name: value for name, value in asdict(tower).items() if value is not None}
        fields = json.dumps([facts, embed_dim], separators=(",", ":"))
        model.metadata_props.add(key=key, value=fields)
        size = sum(_size(*each) for each in self.initializers.values())
        outside = path.with_name(f"{path.name}.data") if size > inline_bytes else None
        pieces = list(_pieces(self.initializers, outside.name if outside else None))
        length = len(body) + sum(piece.length for piece in pieces)
        with path.open("wb") as file, outside.open("wb") if outside else nullcontext(file) as data:
            file.write(model.SerializeToString(deterministic=True) + head(_GRAPH, length) + body)
            for piece in pieces:
                file.write(piece.head)
                (data if piece.outside else file).write(piece.read())


@dataclass(frozen=True)
class _Piece:
    """An initializer: the bytes before its values, and these."""

    head: bytes
    tensor: Tensor
    type: int
    outside: bool

    @property
    def length(self) -> int:
        """Bytes in the graph's file."""
        return len(self.head) + (0 if self.outside else _size(self.tensor, self.type))

    def read(self) -> memoryview:
        """The bytes of its values."""
        values = self.tensor.read().astype(helper.tensor_dtype_to_np_dtype(self.type), copy=False)
        return np.ascontiguousarray(values).data


def _pieces(initializers: Mapping[str, tuple[Tensor, int]], outside: str | None) -> Iterator[_Piece]:
    """`outside`: the name of the file that the large ones are in, one behind the other."""
    offset = 0
    for name, (tensor, kind) in initializers.items():
        size = _size(tensor, kind)
        record = TensorProto(name=name, data_type=kind, dims=tensor.shape)
        if outside and size > _SMALL_BYTES:
            record.data_location = TensorProto.EXTERNAL
            for key, value in (("location", outside), ("offset", offset), ("length", size)):
                record.external_data.add(key=key, value=str(value))
            facts = record.SerializeToString(deterministic=True)
            yield _Piece(head(_INITIALIZER, len(facts)) + facts, tensor, kind, True)
            offset += size
        else:
            facts = record.SerializeToString(deterministic=True) + head(_RAW_DATA, size)
            yield _Piece(head(_INITIALIZER, len(facts) + size) + facts, tensor, kind, False)


def stored(path: Path) -> tuple[Any, int, dict[str, Tensor]] | None:
    """The tower, `embed_dim` and the weights of a graph that `Graph.save` wrote; None for other graphs."""
    model = onnx.load(path, load_external_data=False)
    entry = next((entry for entry in model.metadata_props if entry.key in _TOWERS), None)
    if entry is None:
        return None
    fields, embed_dim = json.loads(entry.value)
    weights = {
        each.name: Tensor(tuple(each.dims), partial(numpy_helper.to_array, each, str(path.parent)))
        for each in model.graph.initializer
    }
    return _TOWERS[entry.key](**fields), embed_dim, weights


def _size(tensor: Tensor, kind: int) -> int:
    return int(tensor.size * helper.tensor_dtype_to_np_dtype(kind).itemsize)
