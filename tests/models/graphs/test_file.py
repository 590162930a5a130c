"""A graph's file is written weight by weight, and large weights go to a file beside it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from clipserve.clip.external import external_files
from clipserve_models.graphs import file
from clipserve_models.graphs.file import Graph, stored
from clipserve_models.tensors import Tensor, constant
from tests.models.towers import CLIP

WEIGHTS = {
    "matrix": constant(np.arange(400 * 3, dtype=np.float32).reshape(400, 3)),
    "bias": constant([1, 2, 3]),
}


def product(weights: dict[str, Tensor]) -> Graph:
    graph = Graph(weights, half=False)
    product = graph.node("MatMul", "rows", graph.weight("matrix"))
    graph.node("Add", product, graph.weight("bias"), name="embedding")
    return graph


def save(path: Path, inline_bytes: int = file.INLINE_BYTES) -> None:
    rows = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["N", 400])
    product(WEIGHTS).save(path, [rows], CLIP.text, 3, inline_bytes)


@pytest.mark.parametrize(("inline_bytes", "beside"), [(10_000, set()), (4_811, {"graph.onnx.data"})])
def test_weights_above_the_limit_go_to_a_file_beside_the_graph(
    inline_bytes: int, beside: set[str], tmp_path: Path
) -> None:
    path = tmp_path / "graph.onnx"
    save(path, inline_bytes)
    assert external_files(path) == beside
    assert {each.name for each in tmp_path.iterdir()} == beside | {"graph.onnx"}
    onnx.checker.check_model(path, full_check=True)
    rows = np.eye(400, dtype=np.float32)[:2]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.run(None, {"rows": rows})[0].tolist() == [[1, 3, 5], [4, 6, 8]]
    found = stored(path)
    assert found is not None
    tower, dim, weights = found
    assert (tower, dim) == (CLIP.text, 3)
    assert {name: each.read().tolist() for name, each in weights.items()} == {
        name: each.read().tolist() for name, each in WEIGHTS.items()
    }


def test_a_graph_of_another_writer_has_no_tower(tmp_path: Path) -> None:
    save(tmp_path / "graph.onnx")
    model = onnx.load(tmp_path / "graph.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    assert stored(tmp_path / "other.onnx") is None


def peak() -> int:
    """The most memory of this process since it was last reset, in kB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def test_the_weights_are_never_in_memory_together(tmp_path: Path) -> None:
    """40 tensors of 4 MB: read one at a time, or 160 MB."""
    ones = Tensor((1_000, 1_000), lambda: np.ones((1_000, 1_000), np.float32))
    graph, value = Graph({f"w{place}": ones for place in range(40)}, half=False), "rows"
    for place in range(40):
        name = "embedding" if place == 39 else ""
        value = graph.node("MatMul", value, graph.weight(f"w{place}"), name=name)
    rows = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, ["N", 1_000])
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = peak()
    graph.save(tmp_path / "graph.onnx", [rows], CLIP.text, 1_000)
    assert (tmp_path / "graph.onnx").stat().st_size > 160_000_000
    assert peak() - before < 40_000
