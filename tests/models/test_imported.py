"""Graphs of immich's and transformers.js's exports become ours, with the same vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ScoringSpec
from clipserve_models.__main__ import app
from clipserve_models.errors import ModelsError
from clipserve_models.imported import import_folder
from clipserve_models.imported.scale import scoring_of
from clipserve_models.verify import Graph, session_of, verify
from tests.models.layouts.folders import HALVES, edit, transformers_folder, write_json, write_safetensors
from tests.models.towers import CLIP, SIGLIP

SIZE, DIM, LENGTH = 32, 48, 77
SCORING = ScoringSpec(logit_scale=100)
FLOAT, UINT8, INT32, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64
RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> npt.NDArray[np.float32]:
    return RANDOM.standard_normal(shape, np.float32) / np.float32(shape[0] ** 0.5)


def save(path: Path, nodes: list[Any], inputs: list[Any], output: str, dim: int, **constants: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    out = helper.make_tensor_value_info(output, FLOAT, ["batch", dim])
    graph = helper.make_graph(nodes, "graph", inputs, [out], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def image_graph(
    path: Path,
    name: str,
    output: str,
    size: int = SIZE,
    dim: int = DIM,
    batch: Any = "batch",
    floats: bool = True,
) -> None:
    """Pixels times weights; a graph for uint8 normalises by itself."""
    shape = [batch, 3, size, size] if floats else [batch, size, size, 3]
    nodes = [] if floats else [helper.make_node("Cast", [name], ["cast"], to=FLOAT)]
    nodes += [
        helper.make_node("Flatten", [name if floats else "cast"], ["flat"]),
        helper.make_node("MatMul", ["flat", "embedding"], [output]),  # a name that ours has too
    ]
    told = helper.make_tensor_value_info(name, FLOAT if floats else UINT8, shape)
    save(path, nodes, [told], output, dim, embedding=weights(3 * size * size, dim))


def text_graph(
    path: Path,
    name: str,
    output: str,
    dtype: int = INT32,
    length: int = LENGTH,
    dim: int = DIM,
    mask: bool = False,
) -> None:
    """The mean of the tokens' rows, of those that the mask has."""
    inputs = [helper.make_tensor_value_info(name, dtype, ["batch", length])]
    nodes = [helper.make_node("Gather", ["table", name], ["rows"])]
    constants: dict[str, Any] = {"table": weights(49408, dim), "axis": np.array([1])}
    if mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", dtype, ["batch", "sequence"]))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["floats"], to=FLOAT),
            helper.make_node("Unsqueeze", ["floats", "last"], ["column"]),
            helper.make_node("Mul", ["rows", "column"], ["masked"]),
        ]
        constants["last"] = np.array([2])
    nodes.append(helper.make_node("ReduceSum", ["masked" if mask else "rows", "axis"], [output], keepdims=0))
    save(path, nodes, inputs, output, dim, **constants)


def immich(folder: Path, *, floats: bool = False, batch: Any = "batch") -> None:
    config = {
        "embed_dim": DIM,
        "vision_cfg": {"image_size": SIZE, "layers": 12},
        "text_cfg": {"context_length": LENGTH},
    }
    images = {"size": [SIZE, SIZE], "mode": "RGB", "mean": HALVES, "std": HALVES, "interpolation": "bicubic"}
    image_graph(folder / "visual" / "model.onnx", "image", "image_embedding", batch=batch, floats=floats)
    text_graph(folder / "textual" / "model.onnx", "text", "text_embedding")
    write_json(folder / "config.json", config)
    write_json(
        folder / "visual" / "preprocess_cfg.json", images | {"resize_mode": "shortest", "fill_color": 0}
    )


def transformers_js(folder: Path, mask: bool = False) -> None:
    transformers_folder(folder, CLIP)
    (folder / "model.safetensors").unlink()
    image_graph(folder / "onnx" / "vision_model.onnx", "pixel_values", "image_embeds")
    text_graph(folder / "onnx" / "text_model.onnx", "input_ids", "text_embeds", INT64, mask=mask)


def siglip_js(folder: Path) -> None:
    transformers_folder(folder, SIGLIP, "siglip")
    image_graph(folder / "onnx" / "vision_model.onnx", "pixel_values", "pooler_output", 50, 64)
    text_graph(folder / "onnx" / "text_model.onnx", "input_ids", "pooler_output", INT64, 16, 64)


def imported(folder: Path, out: Path) -> Path:
    import_folder(folder, out, name="theirs", scoring=SCORING, licence="MIT", say=lambda _: None)
    return out


@pytest.mark.parametrize(
    ("make", "image", "floats"),
    [
        (immich, "visual/model.onnx", False),
        (lambda folder: immich(folder, floats=True), "visual/model.onnx", True),
        (transformers_js, "onnx/vision_model.onnx", True),
        (lambda folder: transformers_js(folder, mask=True), "onnx/vision_model.onnx", True),
        (siglip_js, "onnx/vision_model.onnx", True),
    ],
    ids=["immich", "immich, floats", "transformers.js", "with a mask", "SigLIP"],
)
def test_an_import_gives_the_exports_vectors_in_our_contract(
    make: Callable[[Path], None], image: str, floats: bool, tmp_path: Path
) -> None:
    make(tmp_path / "theirs")
    out = imported(tmp_path / "theirs", tmp_path / "out")
    manifest, cosine = verify(out)
    assert cosine > 0.999999
    assert manifest.text.padding == "fixed"
    assert "ONNX of" in manifest.source.checkpoint

    pixels = RANDOM.integers(0, 256, (2, manifest.image.size, manifest.image.size, 3), np.uint8)
    session = session_of(tmp_path / "theirs" / image)
    given = ((pixels / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2).astype(np.float32) if floats else pixels
    theirs = session.run(None, {session.get_inputs()[0].name: given})[0]
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(Graph(out / "image.onnx").run({"pixels": pixels}), theirs, atol=1e-5)


def one_more(name: str, part: str) -> Callable[[Path], None]:
    """Add an input or output that no export has."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / name)
        told = getattr(model.graph, part)
        told.append(helper.make_tensor_value_info("more", FLOAT, ["batch", 5]))
        onnx.save(model, folder / name)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "visual" / "model.onnx").unlink(), r"neither visual/model.onnx \(immich\)"),
        (
            lambda folder: (folder / "textual" / "model.onnx").write_bytes(b"?"),
            "textual/model.onnx is no ONNX graph",
        ),
        (
            lambda folder: (folder / "visual" / "preprocess_cfg.json").unlink(),
            "preprocess_cfg.json is missing",
        ),
        (lambda folder: edit(folder / "visual" / "preprocess_cfg.json", (["mean"], ...)), "has no mean"),
        (
            lambda folder: edit(folder / "visual" / "preprocess_cfg.json", (["size"], 64)),
            "size is 64; .* is 32",
        ),
        (
            lambda folder: edit(folder / "config.json", (["embed_dim"], 50)),
            r"gives image_embedding .*\[batch, 50\]",
        ),
        (
            lambda folder: edit(folder / "config.json", (["text_cfg", "context_length"], 64)),
            r"text int32 \[None, 77\]",
        ),
        (lambda folder: immich(folder, batch=1), "takes batches of 1 only"),
        (one_more("visual/model.onnx", "input"), "more float .* other inputs than one"),
        (one_more("textual/model.onnx", "output"), "one output .* is needed"),
    ],
)
def test_other_graphs_are_refused(change: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    immich(tmp_path / "theirs")
    change(tmp_path / "theirs")
    with pytest.raises(ModelsError, match=said):
        imported(tmp_path / "theirs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_scale_is_that_of_the_original(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "model.safetensors", {"logit_scale": np.full(1, np.log(100))}, "F32")
    for source in (tmp_path, tmp_path / "model.safetensors"):
        assert scoring_of(str(source)).logit_scale == pytest.approx(100)
    values = {"logit_scale": np.ones(1, np.float32), "logit_bias": np.full(1, -7.5, np.float32)}
    write_safetensors(tmp_path / "model.safetensors", values, "BF16")
    assert scoring_of(str(tmp_path)) == ScoringSpec(
        function="sigmoid", logit_scale=float(np.e), logit_bias=-7.5
    )


def test_the_command_needs_a_scale_and_a_name(tmp_path: Path) -> None:
    immich(tmp_path / "theirs")
    words = ["import", str(tmp_path / "theirs"), "--name", "theirs", "--out", str(tmp_path / "out")]
    with pytest.raises(ModelsError, match="give --logit-scale, or --scale-of"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    taken = ["import", str(tmp_path / "theirs"), "--name", "ViT-B-32", "--logit-scale", "100"]
    with pytest.raises(ModelsError, match="is the name of another model"):
        CliRunner().invoke(app, taken, catch_exceptions=False)
    result = CliRunner().invoke(app, [*words, "--logit-scale", "50"], catch_exceptions=False)
    assert "vectors are those of that export" in result.output
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.name, manifest.source.licence) == ("theirs", "not stated")
    assert json.loads((tmp_path / "out" / "model.json").read_text())["scoring"]["logit_scale"] == 50
