"""The graphs compute what the numpy forward pass computes. Epsilons are large, so that vectors notice others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.backends.openvino import OpenVinoEngine
from clipserve.engine.in_process import Engine, EngineOptions
from clipserve_models import reference
from clipserve_models.architecture import Architecture, ImageTower
from clipserve_models.graphs.file import stored
from clipserve_models.graphs.towers import write_image, write_text
from tests.models.towers import (
    BERT_TEXT,
    CHINESE,
    CLIP,
    CLIP_TEXT,
    MEAN,
    RESNET,
    SIGLIP,
    STD,
    random_tensors,
    vit,
    with_activation,
    words,
    write_graphs,
)

CASES = {
    "CLIP": CLIP,
    "CLIP with GELU": with_activation(CLIP, "gelu"),
    "CLIP of one layer, without a norm before": replace(
        CLIP, image=replace(vit(CLIP), layers=1, pre_norm=False), text=replace(CLIP_TEXT, layers=1)
    ),
    "Chinese-CLIP": CHINESE,
    "Chinese-CLIP of one layer": replace(CHINESE, text=replace(CHINESE.text, layers=1)),
    "BERT with a projection of two layers": replace(CHINESE, text=replace(BERT_TEXT, hidden=40)),
    "MobileCLIP-B": with_activation(
        replace(CLIP, image=replace(vit(CLIP), patch=16, stem=8, patch_bias=True, pre_norm=False)), "gelu"
    ),
    "ResNet": RESNET,
    "SigLIP": SIGLIP,
    "SigLIP with GELU": with_activation(SIGLIP, "gelu"),
    "CLIPA: pools the last state, padding included": replace(
        CLIP, text=replace(CLIP_TEXT, causal=False, pooling="last")
    ),
    "causal, pools the last state": replace(CLIP, text=replace(CLIP_TEXT, pooling="last")),
    "pools the end, not causal": replace(CLIP, text=replace(CLIP_TEXT, causal=False)),
}


def run(path: Path, **feeds: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    embedding: npt.NDArray[np.float32] = session.run(["embedding"], feeds)[0]
    return embedding


def pixels_of(architecture: Architecture) -> npt.NDArray[np.uint8]:
    side = architecture.image.size
    return np.random.default_rng(1).integers(0, 256, (3, side, side, 3), np.uint8)


def texts_of(architecture: Architecture) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    length = architecture.text.context_length
    ids = np.random.default_rng(2).integers(0, architecture.text.vocabulary, (3, length), np.int32)
    return ids, np.array([5, 9, length], np.int32)


ENGINES: dict[str, Callable[[Path], Engine]] = {
    "onnxruntime": lambda folder: OnnxEngine(folder, EngineOptions(threads=1)),
    "OpenVINO": lambda folder: OpenVinoEngine(folder, 1),
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("architecture", CASES.values(), ids=CASES)
def test_a_graph_computes_what_numpy_computes(
    architecture: Architecture, engine: Callable[[Path], Engine], tmp_path: Path
) -> None:
    image, text = architecture.image, replace(architecture.text, epsilon=0.125)
    image = replace(image, epsilon=0.25) if isinstance(image, ImageTower) else image
    architecture = replace(architecture, image=image, text=text)
    tensors = random_tensors(architecture)
    write_graphs(tmp_path, architecture, tensors)
    pixels, (ids, lengths) = pixels_of(architecture), texts_of(architecture)
    images = reference.encode_images(architecture, tensors, pixels, MEAN, STD)
    texts = reference.encode_texts(architecture, tensors, ids, lengths)
    assert images.dtype == texts.dtype == np.float32
    loaded = engine(tmp_path)
    loaded.load()
    assert np.abs(loaded.run("image.onnx", {"pixels": pixels}) - images).max() < 1e-6
    for length in (9, ids.shape[1]) if text.trims else ids.shape[1:]:  # with less padding, or all of it
        some = lengths <= length
        feeds = {"token_ids": ids[some, :length], "lengths": lengths[some]}
        assert np.abs(loaded.run("text.onnx", feeds) - texts[some]).max() < 1e-6
    loaded.close()


@pytest.mark.parametrize("architecture", [CLIP, SIGLIP, CHINESE], ids=["CLIP", "SigLIP", "Chinese-CLIP"])
def test_half_precision_keeps_norms_and_tables_and_gives_nearly_the_same(
    architecture: Architecture, tmp_path: Path
) -> None:
    """By onnxruntime, and by onnx's evaluator, which rounds the result of every operator, as a GPU does."""
    ids, lengths = texts_of(architecture)
    for path in write_graphs(tmp_path, architecture, random_tensors(architecture)):
        (found, half) = stored(path), tmp_path / "half.onnx"
        assert found is not None
        texts = {"token_ids": ids, "lengths": lengths}
        feeds: dict[str, Any] = texts if path.stem == "text" else {"pixels": pixels_of(architecture)}
        (write_text if path.stem == "text" else write_image)(half, *found, half=True)
        onnx.checker.check_model(half, full_check=True)
        rounded = np.asarray(ReferenceEvaluator(str(half)).run(None, feeds))[0]
        for computed in (run(half, **feeds), rounded):
            assert np.abs(computed - run(path, **feeds)).max() < 2e-3
        graph = onnx.load(half).graph
        types = {weight.name: weight.data_type for weight in graph.initializer}
        for node in graph.node:
            if node.op_type == "LayerNormalization":
                assert {types[name] for name in node.input[1:]} == {onnx.TensorProto.FLOAT}
            elif node.op_type in ("MatMul", "Conv"):
                assert onnx.TensorProto.FLOAT not in [types.get(name) for name in node.input]
            elif node.op_type == "Slice" and "mask" not in node.input:
                assert len(node.input) > 3, "TensorRT insists on axes, although all are the default"
        assert types.get("tokens", onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT
        readers = {node.op_type for node in graph.node if "pixels" in node.input}
        assert readers <= {"Cast"}, "TensorRT takes uint8 as an input only"


@pytest.mark.parametrize(
    ("architecture", "rows"),
    [
        (CLIP, {"image": {17: 5, 1: 4}, "text": {77: 5, 1: 4}}),
        (SIGLIP, {"image": {9: 9, 1: 3}, "text": {16: 5, 1: 4}}),
    ],
    ids=["CLIP", "SigLIP"],
)
def test_what_nobody_reads_is_not_computed(
    architecture: Architecture, rows: dict[str, dict[int, int]], tmp_path: Path
) -> None:
    """Behind its keys and values, the last of two blocks works on the pooled state alone."""
    fixed = replace(
        architecture, text=replace(words(architecture), causal=False)
    )  # texts of one length, for shapes
    for path in write_graphs(tmp_path, fixed, random_tensors(fixed)):
        graph = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
        shapes = {
            each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in graph.value_info
        }
        weights = {each.name for each in graph.initializer}
        products = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
        states = [shapes[node.input[0]] for node in products]
        assert Counter(shape[1] for shape in states if len(shape) == 3) == rows[path.stem]
