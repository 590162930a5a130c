"""What TensorRT gets is of types that it takes."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.tensorrt_types import check_graph, violations


def model(operator: str, data_type: int, domain: str = "") -> bytes:
    """A graph of one node that reads one constant, `weight`."""
    made = onnx.ModelProto()
    made.graph.node.add(input=["weight"], op_type=operator, domain=domain)
    made.graph.initializer.add(name="weight", data_type=data_type, raw_data=b"1234")
    return bytes(made.SerializeToString())


def test_the_demo_s_graphs_are_of_those_types() -> None:
    for name in (IMAGE_GRAPH, TEXT_GRAPH):
        check_graph(DEMO / name)


@pytest.mark.parametrize(
    ("operator", "data_type"), [("MatMul", 10), ("DequantizeLinear", 3), ("Gather", 2), ("Cast", 2)]
)
def test_a_constant_that_it_takes_is_not_refused(tmp_path: Path, operator: str, data_type: int) -> None:
    (tmp_path / "text.onnx").write_bytes(model(operator, data_type))
    check_graph(tmp_path / "text.onnx")


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
        ("QuantizeLinear", 2, "", "weight is uint8"),
        ("Cast", 3, "", "weight is int8"),
        ("Cast", 11, "", "weight is of the type 11 of ONNX"),
    ],
)
def test_operators_and_types_that_tensorrt_does_not_take_are_refused_before_a_build(
    tmp_path: Path, operator: str, data_type: int, domain: str, said: str
) -> None:
    (tmp_path / "text.onnx").write_bytes(model(operator, data_type, domain))
    with pytest.raises(ModelsError, match=f"TensorRT could not read .*text.onnx: {said}.*fp16 variant"):
        check_graph(tmp_path / "text.onnx")
