"""Rewires the demo's image graph for TensorRT, which supports uint8 only as a graph's input that a Cast reads.

The exporter reads the sizes of `pixels`, and the network transposes them first. So the graph is rewired: one Cast
reads `pixels`, and all its former readers read the Cast's result. The values are the same.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from clipserve_models.errors import ModelsError
from clipserve_models.tensorrt_types import PIXELS


def obey(path: Path) -> None:
    """Rewire the image graph in place.

    Raises:
        ModelsError: it uses uint8 in an unknown way.
    """
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    for turn in [node for node in _readers(graph, PIXELS) if node.op_type == "Transpose"]:
        _cast_first(graph, turn)
    casts = [node for node in _readers(graph, PIXELS) if node.op_type == "Cast"]
    if len(casts) == 1:
        (cast,) = casts
        for node in _readers(graph, PIXELS):
            if node.op_type == "Shape":
                node.input[0] = cast.output[0]
        first = onnx.NodeProto()
        first.CopyFrom(cast)
        graph.node.remove(cast)
        graph.node.insert(0, first)  # before all its readers
    if (found := [node.op_type for node in _readers(graph, PIXELS)]) != ["Cast"]:
        raise ModelsError(f"TensorRT could not read {path.name}: {', '.join(found)} read {PIXELS}.")
    onnx.save(model, path)


def _cast_first(graph: onnx.GraphProto, turn: onnx.NodeProto) -> None:
    """Transpose, then Cast -> Cast, then Transpose; unchanged if something else reads the transposed value."""
    turned = turn.output[0]
    readers = _readers(graph, turned)
    if len(readers) != 1 or readers[0].op_type != "Cast":
        return
    (cast,) = readers
    given = cast.output[0]
    cast.input[0], cast.output[0] = PIXELS, f"{PIXELS}_cast"
    turn.input[0], turn.output[0] = cast.output[0], given
    place = list(graph.node).index(cast)
    moved = onnx.NodeProto()
    moved.CopyFrom(cast)
    del graph.node[place]
    graph.node.insert(0, moved)
    for value in [value for value in graph.value_info if value.name == turned]:
        graph.value_info.remove(value)


def _readers(graph: onnx.GraphProto, name: str) -> list[onnx.NodeProto]:
    return [node for node in graph.node if name in node.input]
