"""A start by the name of a model, with the real exporter and random weights, and the artifact that it exports."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.clip.artifact import read_manifest
from tests.process import Process, get

SECONDS = 900.0  # half a minute, on a machine that is not busy
NAME = "ViT-S-32-alt-random"  # a small one, of which open_clip has no weights


@dataclass(frozen=True)
class Start:
    """What a service said that was told a name: the model that it serves, and its log."""

    model: Any
    log: str


def start(cache: Path) -> Start:
    process = Process(models=NAME, cache_dir=str(cache), backend="onnx")
    process.wait_ready(SECONDS)
    (model,) = get(process.url + "/v1/models").json()["data"]
    return Start(model, process.stop()[1])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def first(cache: Path) -> Start:
    """It exports."""
    return start(cache)


@pytest.fixture(scope="module")
def vit(cache: Path, first: Start) -> Path:
    """What it has exported: all layers."""
    return cache / NAME


def test_the_first_start_exports_and_the_second_does_not(cache: Path, first: Start, vit: Path) -> None:
    log = first.log
    assert log.index("exporting_model") < log.index("comparing with PyTorch") < log.index("model_exported")
    manifest = read_manifest(vit)
    assert manifest.source.random_weights
    assert (first.model["id"], first.model["fingerprint"]) == (manifest.name, manifest.fingerprint())
    assert [path.name for path in cache.iterdir()] == [NAME]

    second = start(cache)
    assert second.model == first.model
    assert "exporting_model" not in second.log


def operators(graph: Path) -> Counter[str]:
    import onnx

    return Counter(node.op_type for node in onnx.load(graph, load_external_data=False).graph.node)


def test_a_transformer_is_exported_with_its_facts(vit: Path) -> None:
    manifest = read_manifest(vit)
    assert manifest.name == NAME
    assert manifest.source.random_weights
    assert (manifest.embed_dim, manifest.image.size, manifest.image.resize) == (256, 224, "shortest")
    assert (manifest.text.context_length, manifest.text.padding, manifest.text.eot_id) == (77, "trim", 49407)
    assert (manifest.scoring.function, manifest.scoring.logit_bias) == ("softmax", 0.0)
    assert manifest.scoring.logit_scale == pytest.approx(1 / 0.07)
    assert set(manifest.files) == {"image.onnx", "text.onnx", "tokenizer.json"}


def test_the_graphs_keep_the_contract(vit: Path) -> None:
    import onnx

    for name, inputs in (
        ("image.onnx", {"pixels": ("UINT8", ["N", 224, 224, 3])}),
        ("text.onnx", {"token_ids": ("INT32", ["N", "L"]), "lengths": ("INT32", ["N"])}),
    ):
        model = onnx.load(vit / name)
        found = {
            value.name: (
                onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type),
                [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
            )
            for value in model.graph.input
        }
        assert found == inputs
        assert [value.name for value in model.graph.output] == ["embedding"]
        assert model.ir_version <= 10
        assert "ArgMax" not in operators(vit / name)
        for weight in model.graph.initializer:
            assert np.isfinite(onnx.numpy_helper.to_array(weight)).all(), weight.name
