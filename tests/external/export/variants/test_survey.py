"""Values that half precision cannot hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.variants.job import Largest


def graph_of(nodes: list[Any], mask: np.ndarray, path: Path) -> Path:
    """scores [L, L] -> embedding, with a causal mask among the weights."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 3]) for name in ("scores", "embedding")
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(mask, "mask")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model)
    save(model, path)
    return path


def test_a_causal_mask_is_no_large_value_but_scores_are(tmp_path: Path) -> None:
    from onnx import helper

    from clipserve_models.variants.survey import survey

    mask = np.triu(np.full((3, 3), -1e4, np.float32), 1)
    nodes = [
        helper.make_node("Mul", ["scores", "scores"], ["squares"]),
        helper.make_node("Add", ["squares", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["embedding"]),
    ]
    path = graph_of(nodes, mask, tmp_path / "text.onnx")
    for value, largest in ((3.0, 9.0), (-100.0, 10_000.0)):
        found = survey(path, [{"scores": np.full((3, 3), each, np.float32)} for each in (0.5, value)])
        assert found == Largest("text.onnx", "squares", largest)


def test_what_is_not_finite_is_the_largest_of_all(tmp_path: Path) -> None:
    from onnx import helper

    from clipserve_models.variants.survey import refuse_overflow, survey

    nodes = [
        helper.make_node("Exp", ["scores"], ["powers"]),
        helper.make_node("Add", ["powers", "mask"], ["embedding"]),
    ]
    path = graph_of(nodes, np.zeros((3, 3), np.float32), tmp_path / "image.onnx")
    found = survey(path, [{"scores": np.full((3, 3), 1_000, np.float32)}])
    assert found.value == np.inf
    with pytest.raises(ModelsError, match=r"image\.onnx: the tensor 'powers' reaches inf"):
        refuse_overflow(found)
