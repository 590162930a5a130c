"""What TensorRT gets is of types that it takes, and computes the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.reference import REFERENCE_TEXTS, reference_pixels
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.plan_lines import write_lines
from clipserve_models.tensorrt_types import _model, for_tensorrt, violations
from clipserve_models.triton_options import DEFAULTS
from tests.models.tensorrt import MANIFEST, demo_copy

GRAPHS = (IMAGE_GRAPH, TEXT_GRAPH)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return demo_copy(tmp_path / "demo")


def read(path: Path) -> Any:
    model = _model()
    model.ParseFromString(path.read_bytes())
    return model


def test_the_demo_s_graphs_are_not_of_those_types_and_what_plans_are_built_from_is(artifact: Path) -> None:
    script = shlex.split(write_lines(artifact, DEFAULTS["tensorrt"]).read_text(), comments=True)
    built_from = [word.partition("=")[2] for word in script if word.startswith("--onnx=")]
    assert len(built_from) == len(GRAPHS)
    for name in GRAPHS:
        assert all(line.endswith(" is int8") for line in violations(read(DEMO / name).graph))
        assert violations(read(DEMO / name).graph)
    for name in built_from:
        assert violations(read(artifact / name).graph) == []


def test_they_compute_the_same_to_the_bit(artifact: Path) -> None:
    tokenizer = load_tokenizer(DEMO, MANIFEST.text)
    ids, lengths = tokenizer.pad(tokenizer.encode(REFERENCE_TEXTS, truncate=True), 32)
    pixels = {"pixels": reference_pixels(MANIFEST.image.size)[:2]}
    for graph, feeds in ((IMAGE_GRAPH, pixels), (TEXT_GRAPH, {"token_ids": ids, "lengths": lengths})):
        ours, theirs = (
            ort.InferenceSession(artifact / name).run(None, feeds)[0]
            for name in (graph, for_tensorrt(artifact, graph))
        )
        assert np.array_equal(ours, theirs), graph


def test_a_graph_that_needs_no_copy_is_the_file_itself(tmp_path: Path) -> None:
    model = _model()
    model.graph.node.add(op_type="MatMul", input=["x", "weight"])
    model.graph.initializer.add(name="weight", data_type=10, raw_data=b"1234")
    model.graph.initializer.add(name="scaled", data_type=3, raw_data=b"12")
    model.graph.node.add(op_type="DequantizeLinear", input=["scaled"])
    (tmp_path / "text.onnx").write_bytes(model.SerializeToString())
    assert for_tensorrt(tmp_path, "text.onnx") == "text.onnx"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("node", "data_type", "said"),
    [
        ({"op_type": "MatMulInteger"}, 1, "it has the node ONNX MatMulInteger"),
        ({"op_type": "Gelu", "domain": "com.microsoft"}, 1, "it has the node com.microsoft Gelu"),
        ({"op_type": "DequantizeLinear", "input": ["weight"]}, 2, "weight is uint8"),
        ({"op_type": "Cast"}, 11, "weight is of ONNX's type 11"),
    ],
)
def test_what_no_copy_mends_is_refused_before_a_build(
    tmp_path: Path, node: dict[str, Any], data_type: int, said: str
) -> None:
    model = _model()
    model.graph.node.add(**node)
    model.graph.initializer.add(name="weight", data_type=data_type, raw_data=b"1234")
    (tmp_path / "text.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelsError, match=f"TensorRT could not read .*text.onnx: {said}.*fp16 variant"):
        for_tensorrt(tmp_path, "text.onnx")
