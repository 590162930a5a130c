"""Graphs in half precision that are not those of the artifact: what the cosine does not see, and what it sees."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.variants.job import Job, Largest
from clipserve_models.variants.making import make_variant
from tests.external.export.variants.conftest import Planner


def after(change: Callable[[Any], None], fp16: Path) -> Callable[[Job], Largest]:
    """A writer whose graphs are those of the variant `fp16`, but for a change of the image graph."""

    def write(job: Job) -> Largest:
        import onnx

        for graph in ("image.onnx", "text.onnx"):
            shutil.copyfile(fp16 / graph, job.target / graph)
        model = onnx.load(job.target / "image.onnx")
        change(model.graph)
        onnx.save(model, job.target / "image.onnx")
        return Largest("image.onnx", "any", 1.0)

    return write


def scale_one_layer(graph: Any) -> None:
    """By 1 %: it turns the vectors by less than the bounds of the gate."""
    from onnx import numpy_helper

    weights = next(
        each for each in graph.initializer if "c_fc.weight" in each.name or list(each.dims) == [64, 256]
    )
    values = numpy_helper.to_array(weights)
    weights.CopyFrom(numpy_helper.from_array((values * 1.01).astype(values.dtype), weights.name))


def shuffle_the_projection(graph: Any) -> None:
    """Its weights stay a set of the right numbers, in the wrong places."""
    from onnx import numpy_helper

    weights = next(each for each in graph.initializer if list(each.dims) == [64, 32])
    values = numpy_helper.to_array(weights)
    weights.CopyFrom(numpy_helper.from_array(values[::-1].copy(), weights.name))


@pytest.mark.parametrize("change", [scale_one_layer, shuffle_the_projection])
def test_a_wrong_weight_is_refused(
    change: Callable[[Any], None], tiny: Path, tiny_fp16: Path, plan: Planner, tmp_path: Path
) -> None:
    with pytest.raises(ModelsError, match=r"image\.onnx is not the fp32 graph in half precision: its weight"):
        make_variant(plan(tiny, tmp_path / "out"), after(change, tiny_fp16), lambda _: None)
    assert not list(tmp_path.iterdir())


def test_a_wrong_operator_is_refused_by_the_gate(
    tiny: Path, tiny_fp16: Path, plan: Planner, tmp_path: Path
) -> None:
    """All weights are right; the activation is another one."""

    def other(graph: Any) -> None:
        for node in graph.node:
            if node.op_type == "Erf":
                node.op_type = "Neg"

    with pytest.raises(
        ModelsError, match=r"fp16 variant is not faithful .*image cosine, mean 0\."
    ) as refusal:
        make_variant(plan(tiny, tmp_path / "out"), after(other, tiny_fp16), lambda _: None)
    assert "text cosine" not in str(refusal.value), "the text tower is as it was"


def test_a_layer_normalization_in_half_precision_is_refused(
    tiny: Path, tiny_fp16: Path, plan: Planner, tmp_path: Path
) -> None:
    from onnx import TensorProto, numpy_helper

    def halve_norms(graph: Any) -> None:
        norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
        assert norms
        scales = {node.input[place] for node in norms for place in (1, 2)}
        writers = {name: node for node in graph.node for name in node.output}
        for weights in graph.initializer:
            if weights.name in scales:
                values = numpy_helper.to_array(weights).astype(np.float16)
                weights.CopyFrom(numpy_helper.from_array(values, weights.name))
        for node in norms:
            cast = writers[node.input[0]]
            assert cast.op_type == "Cast"
            cast.attribute[0].i = TensorProto.FLOAT16
        del graph.value_info[:]

    with pytest.raises(ModelsError, match=r"layer normalization .* is in fp16; it must be in fp32"):
        make_variant(plan(tiny, tmp_path / "out"), after(halve_norms, tiny_fp16), lambda _: None)
