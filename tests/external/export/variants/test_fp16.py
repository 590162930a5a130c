"""What is made of one tiny transformer: its fp16 variant, graphs that are not that, and what refuses those.

The tests of `tiny` are in one file, because each process that needs it exports it twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.reference import lowest_cosine, reference_pixels
from clipserve_models.errors import ModelsError
from clipserve_models.variants.fp16 import Largest
from clipserve_models.variants.making import Writer, make_variant
from clipserve_models.verify import Feeds
from tests.external.export.variants.conftest import Planner
from tests.external.export.variants.faithful import assert_faithful


def test_the_variant_of_a_transformer_of_openai_s_kind_is_faithful(tiny: Path, tiny_fp16: Path) -> None:
    assert_faithful(tiny_fp16, read_manifest(tiny_fp16), read_manifest(tiny))


def test_in_true_half_arithmetic_it_computes_the_same(tiny_fp16: Path) -> None:
    """onnxruntime computes most of fp16 in fp32 on a CPU; OpenVINO has kernels for CPUs with fp16."""
    import openvino as ov

    core = ov.Core()
    if "FP16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in fp16")
    compiled = core.compile_model(tiny_fp16 / "image.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f16"})
    vectors = compiled({"pixels": reference_pixels(32)})[0]
    stored = np.array(read_manifest(tiny_fp16).reference.image_embeddings, np.float32)
    assert lowest_cosine(vectors, stored) > 0.9999


def test_one_tower_may_stay_fp32(tiny: Path, plan: Planner, tmp_path: Path) -> None:
    made = make_variant(plan(tiny, tmp_path / "out", towers=("text",)), say=lambda _: None)
    assert made.variant
    assert made.variant.towers == ["text"]
    assert made.variant.mean_cosine == pytest.approx(1, abs=1e-6)
    assert (tmp_path / "out" / "image.onnx").read_bytes() == (tiny / "image.onnx").read_bytes()


def after(change: Callable[[Any], None], fp16: Path) -> Writer:
    """A writer whose graphs are those of the variant `fp16`, but for a change of the image graph."""

    def write(source: Path, target: Path, _: Sequence[Feeds]) -> Largest:
        import onnx

        shutil.copyfile(fp16 / source.name, target)
        if source.name == "image.onnx":
            model = onnx.load(target)
            change(model.graph)
            onnx.save(model, target)
        return Largest("image.onnx", "any", 1.0)

    return write


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
