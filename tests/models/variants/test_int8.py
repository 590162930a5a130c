"""The int8 graphs themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from clipserve.clip.external import external_files
from clipserve.clip.reference import reference_pixels
from clipserve.demo import FOLDER as DEMO
from clipserve_models.variants.int8 import write_int8
from tests.models.towers import CLIP, random_tensors, write_graphs

# Each quantizes a whole encoder of the demo model.
pytestmark = pytest.mark.slow


# The first layer of an image encoder, and the last one of both. A text encoder begins with a table.
@pytest.mark.parametrize(("tower", "outer"), [("image", (0, -1)), ("text", (-1,))])
def test_weights_have_seven_bits_and_the_outer_layers_stay_fp32(
    tower: str, outer: tuple[int, ...], tmp_path: Path
) -> None:

    texts = {"token_ids": np.array([[101, 4937, 102]], np.int32), "lengths": np.array([3], np.int32)}
    feeds = [{"pixels": reference_pixels(256)}] if tower == "image" else [texts]
    source, target = DEMO / f"{tower}.onnx", tmp_path / f"{tower}.onnx"
    write_int8(source, target, feeds)
    before, after = onnx.load(source), onnx.load(target)
    assert after.ir_version == before.ir_version
    versions, others = ({each.domain: each.version for each in g.opset_import} for g in (after, before))
    assert versions == others
    writers = {output: node.op_type for node in after.graph.node for output in node.output}
    products = [node for node in after.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    kept = {products[place].name for place in outer}
    for node in products:
        writer = writers.get(node.input[1])
        if writer in (None, "DequantizeLinear"):  # a weight: attention multiplies two activations
            assert (writer is None) == (node.name in kept), node.name
    matrices = [
        numpy_helper.to_array(tensor)
        for tensor in after.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and tensor.name.endswith("_quantized")
    ]
    assert len(matrices) >= 35
    assert max(np.abs(matrix.astype(int)).max() for matrix in matrices) <= 64


def test_weights_beside_a_graph_become_weights_beside_its_variant(tmp_path: Path) -> None:
    """As of a graph above 2 GB, which one message cannot hold."""

    _, within = write_graphs(tmp_path / "within", CLIP, random_tensors(CLIP))
    beside = tmp_path / "beside" / "text.onnx"
    beside.parent.mkdir()
    onnx.save(onnx.load(within), beside, save_as_external_data=True, location="text.onnx.data")
    feeds = {"token_ids": np.array([[256, 97, 257]], np.int32), "lengths": np.array([3], np.int32)}
    vectors = []
    for graph in (beside, within):
        target = graph.with_name("text-int8.onnx")
        write_int8(graph, target, [feeds])
        assert bool(external_files(target)) == bool(external_files(graph)) == (graph is beside)
        vectors.append(onnxruntime.InferenceSession(target).run(None, feeds)[0])
    np.testing.assert_array_equal(*vectors)
    names = {path.name for path in beside.parent.iterdir()}
    assert names == {"text.onnx", "text.onnx.data", "text-int8.onnx", "text-int8.onnx.data"}
