"""What TensorRT gets is of types that it takes, and computes the same."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.reference import REFERENCE_TEXTS, reference_pixels
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.plan_lines import write_lines
from clipserve_models.tensorrt_types import for_tensorrt, violations
from clipserve_models.triton_options import DEFAULTS
from tests.models.tensorrt import MANIFEST, demo_copy

GRAPHS = (IMAGE_GRAPH, TEXT_GRAPH)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return demo_copy(tmp_path / "demo")


def model(operator: str, data_type: int, domain: str = "") -> bytes:
    """A graph of one node that reads one constant, `weight`."""
    made = onnx.ModelProto()
    made.graph.node.add(input=["weight"], op_type=operator, domain=domain)
    made.graph.initializer.add(name="weight", data_type=data_type, raw_data=b"1234")
    return bytes(made.SerializeToString())


def found(file: Path) -> list[str]:
    return violations(onnx.load(file).graph)


def test_the_demo_s_graphs_are_not_of_those_types_and_what_plans_are_built_from_is(artifact: Path) -> None:
    script = shlex.split(write_lines(artifact, DEFAULTS["tensorrt"]).read_text(), comments=True)
    built_from = [word.partition("=")[2] for word in script if word.startswith("--onnx=")]
    assert built_from == ["image.tensorrt.onnx", "text.tensorrt.onnx"]
    counts = {name: len(found(DEMO / name)) for name in GRAPHS}
    assert counts == {"image.onnx": 2, "text.onnx": 37}
    assert all(line.endswith(" is int8") for name in GRAPHS for line in found(DEMO / name))
    for name in built_from:
        assert found(artifact / name) == []


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


@pytest.mark.parametrize(("operator", "data_type"), [("MatMul", 10), ("DequantizeLinear", 3)])
def test_a_graph_that_needs_no_copy_is_the_file_itself(tmp_path: Path, operator: str, data_type: int) -> None:
    (tmp_path / "text.onnx").write_bytes(model(operator, data_type))
    assert for_tensorrt(tmp_path, "text.onnx") == "text.onnx"
    assert len(list(tmp_path.iterdir())) == 1


def test_uint8_is_for_one_cast_alone() -> None:
    graph = onnx.parser.parse_graph("""
        turning (uint8[N, 4, 4, 3] pixels) => (float[N, 3, 4, 4] values) {
            turned = Transpose <perm: ints = [0, 3, 1, 2]> (pixels)
            values = Cast <to: int = 1> (turned)
            sizes = Shape <start: int = 0, end: int = 1> (pixels)
        }""")
    assert violations(graph) == ["Transpose reads pixels", "Shape reads pixels", "2 nodes read pixels"]


@pytest.mark.parametrize(
    ("operator", "data_type", "domain", "said"),
    [
        ("MatMulInteger", 1, "", "it has MatMulInteger"),
        ("Gelu", 1, "com.microsoft", r"it has com\.microsoft\.Gelu"),
        ("DequantizeLinear", 2, "", "weight is uint8"),
        ("Cast", 11, "", "weight is of the type 11 of ONNX"),
    ],
)
def test_what_no_copy_mends_is_refused_before_a_build(
    tmp_path: Path, operator: str, data_type: int, domain: str, said: str
) -> None:
    (tmp_path / "text.onnx").write_bytes(model(operator, data_type, domain))
    with pytest.raises(ModelsError, match=f"TensorRT could not read .*text.onnx: {said}.*fp16 variant"):
        for_tensorrt(tmp_path, "text.onnx")
