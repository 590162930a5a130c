"""The largest value of a graph decides whether half precision can hold it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, checker, helper, numpy_helper

from clipserve_models.errors import ModelsError
from clipserve_models.variants.fp16 import Largest, survey, write_fp16
from clipserve_models.verify import Feeds


def graph_of(nodes: Sequence[Any], path: Path, **weights: np.ndarray) -> Any:
    """scores [N, 3] -> embedding, saved to `path`."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("scores", "embedding")
    ]
    constants = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model)
    onnx.save(model, path)
    return model


def scores(value: float) -> Feeds:
    return {"scores": np.full((3, 3), value, np.float32)}


def test_a_causal_mask_is_no_large_value_but_scores_are(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["scores", "scores"], ["squares"]),
        helper.make_node("Add", ["squares", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["embedding"]),
    ]
    path = tmp_path / "text.onnx"
    graph_of(nodes, path, mask=np.triu(np.full((3, 3), -1e4, np.float32), 1))
    for value, largest in ((3.0, 9.0), (-100.0, 10_000.0)):
        assert survey(path, [scores(0.5), scores(value)]) == Largest("text.onnx", "squares", largest)


@pytest.mark.parametrize(
    ("power", "said"),
    [
        pytest.param(1_000, "reaches inf", id="not finite"),
        pytest.param(np.log(8_001), "reaches 8,001", id="too large"),
    ],
)
def test_what_half_precision_cannot_hold_with_room_to_spare_is_refused_with_its_tensor(
    power: float, said: str, tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("Exp", ["scores"], ["powers"]),
        helper.make_node("Mul", ["powers", "small"], ["embedding"]),
    ]
    graph_of(nodes, tmp_path / "image.onnx", small=np.array(1e-4, np.float32))
    with pytest.raises(ModelsError, match=rf"image\.onnx: the tensor 'powers' {said}"):
        write_fp16(tmp_path / "image.onnx", tmp_path / "half.onnx", [scores(power)])
    assert not (tmp_path / "half.onnx").exists()


def test_weights_beside_a_graph_have_no_other_link_meanwhile(tmp_path: Path) -> None:
    """onnx refuses to read weights that have several."""
    path = tmp_path / "image.onnx"
    product = helper.make_node("MatMul", ["scores", "weights"], ["embedding"])
    model = graph_of([product], path, weights=np.full((3, 3), 2.0, np.float32))
    onnx.save(model, path, save_as_external_data=True, location="image.onnx.data", size_threshold=0)

    def feeds() -> Iterator[Feeds]:
        onnx.load(path)
        yield scores(3.0)

    assert survey(path, feeds()).value == 18.0
