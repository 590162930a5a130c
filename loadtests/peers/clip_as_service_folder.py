"""Artifact -> the two graphs of clip-as-service, with the same weights, and its flow file.

Runs in its environment: `python clip_as_service_folder.py ARTIFACT FOLDER`. Its visual.onnx takes normalised
pixels, its textual.onnx a mask in place of lengths; the rest of the graphs is unchanged.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

# Its own onnx-flow.yml, with HTTP, a port and these graphs: `python -m clip_server` takes no other arguments.
_FLOW = """\
jtype: Flow
version: '1'
with:
  port: ${{{{ ENV.PORT }}}}
  protocol: http
executors:
  - name: clip_o
    uses:
      jtype: CLIPEncoder
      with:
        name: ViT-B-32::openai
        model_path: {folder}
      metas:
        py_modules:
          - clip_server.executors.clip_onnx
    timeout_ready: 300000
"""


def visual(path: Path) -> onnx.ModelProto:
    """pixel_values float32 [N, 3, S, S] -> embedding float32 [N, D]."""
    model = onnx.load(path)
    graph = model.graph
    first = next(node for node in graph.node if node.op_type == "Conv")
    replaced = {"pixels", first.input[0]}
    makers = {node.output[0]: node for node in graph.node}
    scaling, value = [], first.input[0]
    while value in makers:  # Transpose, Sub, Mul, Cast
        scaling.append(makers[value])
        value = makers[value].input[0]
    for node in scaling:
        graph.node.remove(node)
    _renamed(graph, replaced, "pixel_values")
    size = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    _inputs(graph, helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["N", 3, size, size]))
    return model


def textual(path: Path) -> onnx.ModelProto:
    """input_ids and attention_mask int32 [N, 77] -> embedding float32 [N, D]."""
    model = onnx.load(path)
    graph = model.graph
    _renamed(graph, {"token_ids"}, "input_ids")
    axis = helper.make_tensor("mask_axis", TensorProto.INT64, [1], [1])
    graph.initializer.append(axis)
    graph.node.insert(
        0, helper.make_node("ReduceSum", ["attention_mask", "mask_axis"], ["lengths"], keepdims=0)
    )
    _inputs(
        graph,
        helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["N", "L"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT32, ["N", "L"]),
    )
    return model


def _renamed(graph: onnx.GraphProto, replaced: set[str], new: str) -> None:
    for node in graph.node:
        names = [new if name in replaced else name for name in node.input]
        del node.input[:]
        node.input.extend(names)


def _inputs(graph: onnx.GraphProto, *inputs: onnx.ValueInfoProto) -> None:
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]


def main() -> None:
    artifact, folder = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(visual(artifact / "image.onnx"), folder / "visual.onnx")
    onnx.save(textual(artifact / "text.onnx"), folder / "textual.onnx")
    (folder / "flow.yml").write_text(_FLOW.format(folder=folder), "utf-8")


if __name__ == "__main__":
    main()
