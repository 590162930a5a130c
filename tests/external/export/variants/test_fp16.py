"""fp16 variants of the catalog's kinds of models, and what spoils one. Weights are random, and layers few."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.clip.artifact import ArtifactError, read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import lowest_cosine, reference_pixels
from clipserve.demo import FOLDER as DEMO
from clipserve_models.artifact import checksums, write_manifest
from clipserve_models.errors import ModelsError
from clipserve_models.variants.making import Plan, make_variant
from tests.external.export.test_export import TINY_TEXT, TINY_VISION, make
from tests.external.export.test_export_tokenizer import write_gemma_tokenizer
from tests.models.architectures import ALL, shorten
from tests.support import png, serving

Planner = Callable[..., Plan]
TINY = {"embed_dim": 32, "vision_cfg": TINY_VISION, "text_cfg": {**TINY_TEXT, "vocab_size": 49408}}


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["ViT-B-32", "RN50"])
def test_openai_s_two_kinds_pass_as_fp16_with_all_layers(name: str, plan: Planner, tmp_path: Path) -> None:
    """The export compares them with PyTorch."""
    fp32 = make(name, "openai", tmp_path / "fp32", say=lambda _: None)
    made = make_variant(plan(tmp_path / "fp32", tmp_path / "fp16"), say=lambda _: None)
    assert_faithful(tmp_path / "fp16", made, fp32)


@pytest.mark.parametrize(
    "name", ["ViT-B-32", "RN50", "MobileCLIP2-S0", "ViT-B-16-SigLIP2", *["ViT-L-14"] * ALL]
)
def test_a_model_equals_pytorch_and_its_fp16_variant_passes(name: str, plan: Planner, tmp_path: Path) -> None:
    """The export compares with PyTorch and holds the rule of uint8, or raises; the gate judges the variant."""
    text = {}
    if "SigLIP" in name:
        text = {"vocab_size": 400, "hf_tokenizer_name": str(write_gemma_tokenizer(tmp_path / "tokenizer"))}
    said: list[str] = []
    fp32 = make(shorten(tmp_path, name, text), None, tmp_path / "fp32", say=said.append)
    assert sum(line.endswith("ok") for line in said) == 6
    made = make_variant(plan(tmp_path / "fp32", tmp_path / "fp16"), say=lambda _: None)
    assert_faithful(tmp_path / "fp16", made, fp32)


def assert_faithful(folder: Path, made: ModelManifest, fp32: ModelManifest) -> None:
    import onnx

    from clipserve_models.uint8_rule import violations

    assert made.fingerprint().startswith(f"{fp32.name}@fp16-")
    record = made.variant
    assert record
    assert (record.made_of, record.towers, record.photos) == (fp32.fingerprint(), ["image", "text"], 33)
    assert min(record.mean_cosine, record.p1_cosine, record.text_mean_cosine, record.text_p1_cosine) > 0.99999
    assert record.largest_value
    assert 1 < record.largest_value < 1_000
    for graph in ("image.onnx", "text.onnx"):
        model = onnx.load(folder / graph)
        onnx.checker.check_model(model, full_check=True)
        assert (model.ir_version, model.opset_import[0].version) == (10, 18)
        assert_products_are_half(model.graph)
    assert violations(onnx.load(folder / "image.onnx").graph) == []


def assert_products_are_half(graph: Any) -> None:
    """Every product with weights has them in fp16, every normalization of a layer has its own in fp32."""
    import onnx

    types = {weights.name: weights.data_type for weights in graph.initializer}
    wanted = {"LayerNormalization": onnx.TensorProto.FLOAT, "BatchNormalization": onnx.TensorProto.FLOAT}
    wanted |= dict.fromkeys(("MatMul", "Conv", "Gemm"), onnx.TensorProto.FLOAT16)
    found = {node.op_type: 0 for node in graph.node}
    for node in graph.node:
        if node.op_type in wanted and node.input[1] in types:
            found[node.op_type] += 1
            assert types[node.input[1]] == wanted[node.op_type], node.name
    assert found.get("MatMul", 0) + found.get("Conv", 0) >= 4


async def test_a_service_names_fp16_in_its_fingerprint(tiny: Path, tiny_fp16: Path) -> None:
    manifest = read_manifest(tiny_fp16)
    assert (manifest.name, manifest.precision) == ("tiny-half-random@fp16", "fp16")
    async with serving(None, tiny, tiny_fp16, backend="onnx") as running:
        one, other = [
            (await running.embed(png(), model=name)).json() for name in (manifest.name, "tiny-half-random")
        ]
    assert one["fingerprint"] == manifest.fingerprint()
    assert one["fingerprint"].startswith("tiny-half-random@fp16-")
    assert other["fingerprint"] == read_manifest(tiny).fingerprint()


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


async def test_a_service_refuses_the_graph_of_another_model(
    tiny: Path, tiny_fp16: Path, plan: Planner, tmp_path: Path
) -> None:
    """By its checksum; and by what it computes, where somebody wrote the checksum anew."""
    make("tiny-half", None, tmp_path / "other", seed=1, say=lambda _: None)
    mixed = shutil.copytree(tiny_fp16, tmp_path / "mixed")
    shutil.copyfile(tmp_path / "other" / "image.onnx", mixed / "image.onnx")
    with pytest.raises(ArtifactError, match=r"image\.onnx has SHA-256 .*, but model\.json says"):
        async with serving(None, mixed, backend="onnx"):
            pass
    (mixed / "model.json").unlink()
    write_manifest(mixed, read_manifest(tiny_fp16).model_copy(update={"files": checksums(mixed)}))
    with pytest.raises(ArtifactError, match=r"the image encoder is at cosine .*, below 0\.9995"):
        async with serving(None, mixed, backend="onnx"):
            pass


def test_a_model_that_open_clip_does_not_have_has_no_fp16_variant(plan: Planner, tmp_path: Path) -> None:
    with pytest.raises(
        ModelsError, match=r"demo does not say which model of open_clip it was exported from \(Eff"
    ):
        make_variant(plan(DEMO, tmp_path / "out"), say=lambda _: None)
    assert not list(tmp_path.iterdir())


def test_one_tower_may_stay_fp32(tiny: Path, plan: Planner, tmp_path: Path) -> None:
    made = make_variant(plan(tiny, tmp_path / "out", towers=("text",)), say=lambda _: None)
    assert made.variant
    assert made.variant.towers == ["text"]
    assert made.variant.mean_cosine == pytest.approx(1, abs=1e-6)
    assert (tmp_path / "out" / "image.onnx").read_bytes() == (tiny / "image.onnx").read_bytes()
