"""Weights beside a graph are read only from files of the artifact that have a checksum."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest

from clipserve.clip.artifact import ArtifactError, read_manifest, verify_files
from clipserve.clip.external import external_files
from clipserve.demo import FOLDER as DEMO
from tests.support import write_toy_artifact

WEIGHTS = np.arange(4, dtype=np.float32).tobytes()
OUTSIDE = ["../secret", "link", "folder/secret", "sub/../../secret"]


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, value: int | str | bytes) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(location: str) -> bytes:
    """Four numbers, which are in another file."""
    entries = {"location": location, "offset": "0", "length": "16"}
    data = b"".join(field(13, field(1, key) + field(2, value)) for key, value in entries.items())
    return field(1, 4) + field(2, 1) + field(8, "w") + data + field(14, 1)


def addition(location: str) -> bytes:
    """A graph that adds the weights in a file to its input."""
    node = field(1, "w") + field(1, "x") + field(2, "y") + field(4, "Add")
    kind = field(2, field(1, field(1, 1) + field(2, field(1, field(1, 4)))))
    graph = field(1, node) + field(2, "g") + field(5, tensor(location))
    graph += field(11, field(1, "x") + kind) + field(12, field(1, "y") + kind)
    return field(1, 8) + field(8, field(2, 17)) + field(7, graph)


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


def in_onnxruntime(path: Path) -> np.ndarray:
    return onnxruntime.InferenceSession(path).run(None, {"x": np.zeros(4, np.float32)})[0]  # type: ignore[no-any-return]


def in_openvino(path: Path) -> np.ndarray:
    core = openvino.Core()
    return np.array(core.compile_model(core.read_model(path), "CPU")({"x": np.zeros(4, np.float32)})[0])


@pytest.mark.parametrize("run", [in_onnxruntime, in_openvino])
def test_the_engines_read_no_weights_from_outside_of_the_folder(folder: Path, run: object) -> None:
    assert callable(run)
    graph = folder / "image.onnx"
    graph.write_bytes(addition("weights"))
    assert run(graph).tolist() == [0, 1, 2, 3]
    for location in (*OUTSIDE, str(folder.parent / "secret"), "nothing"):
        graph.write_bytes(addition(location))
        with pytest.raises(Exception, match=r"(?i)external|outside|Invalid usage"):
            run(graph)


def test_the_names_are_found_wherever_a_graph_may_hold_a_tensor(tmp_path: Path) -> None:
    graph = field(5, tensor("initializer")) + field(
        15, field(1, tensor("values")) + field(2, tensor("indices"))
    )
    attributes = field(5, tensor("constant")) + field(10, tensor("one of several"))
    attributes += field(6, field(5, tensor("branch"))) + field(22, field(1, tensor("sparse")))
    graph += field(1, field(5, attributes))
    function = field(25, field(7, field(5, field(5, tensor("function")))))
    path = tmp_path / "graph.onnx"
    path.write_bytes(field(1, 8) + field(7, graph) + function)
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
