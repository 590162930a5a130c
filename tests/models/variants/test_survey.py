"""The largest value of a graph whose weights are in a file beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from clipserve_models.variants.survey import survey
from clipserve_models.verify import Feeds


def test_weights_beside_a_graph_have_no_other_link_meanwhile(tmp_path: Path) -> None:
    """onnx refuses to read weights that have several."""
    path = tmp_path / "image.onnx"
    weights = numpy_helper.from_array(np.full((4, 4), 2.0, np.float32), "weights")
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("rows", "products")
    ]
    product = helper.make_node("MatMul", ["rows", "weights"], ["products"])
    graph = helper.make_graph([product], "graph", tensors[:1], tensors[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location="image.onnx.data", size_threshold=0)

    def feeds() -> Iterator[Feeds]:
        onnx.load(path)
        yield {"rows": np.full((1, 4), 3.0, np.float32)}

    assert survey(path, feeds()).value == 24.0
