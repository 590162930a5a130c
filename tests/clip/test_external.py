"""Weights beside a graph are read only from files of the artifact that have a checksum; its own may be mapped."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from clipserve.clip.artifact import ArtifactError, read_manifest, verify_files
from clipserve.clip.external import external_files
from clipserve.demo import FOLDER as DEMO
from tests.support.service import write_toy_artifact

WEIGHTS = np.arange(4, dtype=np.float32).tobytes()
OUTSIDE = ["../secret", "link", "folder/secret", "sub/../../secret"]


def tensor(location: str) -> TensorProto:
    """Four numbers, which are in another file."""
    made = TensorProto(dims=[4], data_type=TensorProto.FLOAT, name="w", data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        made.external_data.add(key=key, value=value)
    return made


def addition(location: str) -> bytes:
    """A graph that adds the weights in a file to its input."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["w", "x"], ["y"])], "g", [x], [y], [tensor(location)])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with links and a subfolder, beside a secret."""
    folder = tmp_path / "artifact"
    (folder / "sub").mkdir(parents=True)
    for path in (tmp_path / "secret", folder / "weights", folder / "sub" / "weights"):
        path.write_bytes(WEIGHTS)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    return folder


def test_the_names_are_found_wherever_a_graph_may_hold_a_tensor(tmp_path: Path) -> None:
    attribute = onnx.AttributeProto(
        t=tensor("constant"),
        tensors=[tensor("one of several")],
        g=onnx.GraphProto(initializer=[tensor("branch")]),
        sparse_tensors=[onnx.SparseTensorProto(values=tensor("sparse"))],
    )
    graph = onnx.GraphProto(
        initializer=[tensor("initializer")],
        sparse_initializer=[onnx.SparseTensorProto(values=tensor("values"), indices=tensor("indices"))],
        node=[onnx.NodeProto(attribute=[attribute])],
    )
    of_function = onnx.NodeProto(attribute=[onnx.AttributeProto(t=tensor("function"))])
    model = onnx.ModelProto(graph=graph, functions=[onnx.FunctionProto(node=[of_function])])
    path = tmp_path / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    expected = "initializer,values,indices,constant,one of several,branch,sparse,function"
    assert external_files(path) == set(expected.split(","))


@pytest.mark.parametrize("graph", ["image.onnx", "text.onnx"])
def test_the_demo_model_has_its_weights_in_its_graphs(graph: str) -> None:
    assert external_files(DEMO / graph) == set()


@pytest.mark.parametrize("size", [1, 127, 128, 4_000])
def test_a_name_may_have_any_length(tmp_path: Path, size: int) -> None:
    (tmp_path / "graph.onnx").write_bytes(addition("w" * size))
    assert external_files(tmp_path / "graph.onnx") == {"w" * size}


def test_an_empty_file_names_none(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"")
    assert external_files(tmp_path / "graph.onnx") == set()


@pytest.mark.parametrize("location", ["weights", *OUTSIDE, "sub/weights", "/etc/passwd"])
async def test_weights_in_a_file_without_a_checksum_are_refused(folder: Path, location: str) -> None:
    await write_toy_artifact(folder.parent / "toy")
    for name in ("tokenizer.json", "text.onnx", "model.json"):
        (folder / name).write_bytes((folder.parent / "toy" / name).read_bytes())
    (folder / "image.onnx").write_bytes(addition(location))
    manifest = read_manifest(folder)
    digest = hashlib.sha256(addition(location)).hexdigest()
    listed = manifest.model_copy(update={"files": manifest.files | {"image.onnx": digest}})
    with pytest.raises(
        ArtifactError, match=r"has weights in .*, a file of which model\.json has no checksum"
    ):
        verify_files(folder, listed)
    if location == "weights":
        files = listed.files | {"weights": hashlib.sha256(WEIGHTS).hexdigest()}
        verify_files(folder, listed.model_copy(update={"files": files}))
