"""Export against PyTorch, with random weights: the real checkpoints cannot be in a test."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import REFERENCE_TEXTS
from clipserve.clip.tokenizer import load_tokenizer
from clipserve_models.catalog import Entry, read_catalog, resolve
from clipserve_models.errors import ModelsError

TINY_VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
TINY_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
TINY_SIGLIP = {
    "embed_dim": 48,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 224,
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_pool": "token",
        "timm_proj": "linear",
    },
    "text_cfg": {
        **TINY_TEXT,
        "context_length": 64,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    },
}


def entry(name: str, pretrained: str | None = None) -> Entry:
    return Entry(name=name, model=name, pretrained=pretrained, licence="MIT")


def make(name: str, pretrained: str | None, out: Path, **options: Any) -> ModelManifest:
    from clipserve_models.export import export

    return export(entry(name, pretrained), out, random_weights=True, **options)


def add_model(folder: Path, name: str, config: dict[str, Any]) -> None:
    import open_clip

    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")


def test_every_entry_of_the_catalog_is_in_open_clip() -> None:
    from clipserve_models.checkpoint import tags

    known = tags()
    for known_entry in read_catalog().values():
        assert known_entry.pretrained in known[known_entry.model], known_entry.name
        assert resolve(known_entry.name, None, read_catalog(), known) == known_entry


def test_ids_equal_open_clips_on_strings_not_stored() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    from clipserve.clip.manifest import TextSpec
    from clipserve.clip.tokenizer import Tokenizer
    from clipserve_models.tokenizer_json import clip_tokenizer
    from tests.golden.make_tokens import hurting_strings

    original = SimpleTokenizer()
    tokenizer = Tokenizer(TextSpec(context_length=100_000, eot_id=49407), clip_tokenizer(original))
    texts = hurting_strings(10_000, seed=20260101)
    for text, row in zip(texts, tokenizer.encode(texts), strict=True):
        assert row.ids == [49406, *original.encode(text), 49407], ascii(text)


def test_an_image_graph_that_turns_uint8_is_rewired_to_the_same_vectors(tmp_path: Path) -> None:
    import onnx
    import onnxruntime as ort

    from clipserve_models.uint8_rule import obey, violations

    graph = onnx.parser.parse_graph("""
        turning (uint8[N, 4, 4, 3] pixels) => (float[N, 48] embedding) {
            turned = Transpose <perm: ints = [0, 3, 1, 2]> (pixels)
            values = Cast <to: int = 1> (turned)
            sizes = Shape <start: int = 0, end: int = 1> (pixels)
            width = Constant <value_ints: ints = [48]> ()
            flat = Concat <axis: int = 0> (sizes, width)
            embedding = Reshape (values, flat)
        }""")
    path, before = tmp_path / "image.onnx", tmp_path / "before.onnx"
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    onnx.save(model, before)
    assert violations(graph) == ["Transpose reads pixels", "Shape reads pixels", "2 nodes read pixels"]
    obey(path)
    assert violations(onnx.load(path).graph) == []
    onnx.checker.check_model(path, full_check=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
    one, other = (ort.InferenceSession(each).run(None, {"pixels": pixels})[0] for each in (before, path))
    np.testing.assert_array_equal(one, other)
    assert one.tolist() == pixels.transpose(0, 3, 1, 2).reshape(3, 48).tolist()


def test_a_graph_that_computes_in_uint8_is_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    from clipserve_models.uint8_rule import obey

    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["N", 4])
    result = helper.make_tensor_value_info("embedding", TensorProto.UINT8, ["N", 4])
    graph = helper.make_graph(
        [helper.make_node("Max", ["pixels", "pixels"], ["embedding"])], "g", [pixels], [result]
    )
    onnx.save(helper.make_model(graph), tmp_path / "image.onnx")
    with pytest.raises(ModelsError, match=r"TensorRT could not read image\.onnx: Max reads pixels"):
        obey(tmp_path / "image.onnx")


def test_a_sigmoid_model_has_a_bias_a_fixed_length_and_squashed_images(tmp_path: Path) -> None:
    from clipserve_models import checkpoint
    from clipserve_models.verify import Graph

    add_model(tmp_path, "tiny-sig", TINY_SIGLIP)
    make("tiny-sig", None, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.scoring.function, manifest.scoring.logit_bias) == ("sigmoid", -10.0)
    assert (manifest.text.padding, manifest.text.context_length) == ("fixed", 64)
    assert manifest.text.cleaning == "canonicalize"
    tokenizer = load_tokenizer(tmp_path / "out", manifest.text)
    token_ids, lengths = tokenizer.pad(tokenizer.encode(REFERENCE_TEXTS), 64)
    # It pools at the last position: the lengths are an input and change nothing.
    graph = Graph(tmp_path / "out" / "text.onnx")
    one, other = (graph.run({"token_ids": token_ids, "lengths": n}) for n in (lengths, lengths - 1))
    np.testing.assert_array_equal(one, other)

    # The images of the real ones are squashed: the tag says so.
    siglip, _ = checkpoint.load(entry("ViT-B-16-SigLIP2", "webli"), weights=None, random_weights=True, seed=0)
    assert siglip.visual.preprocess_cfg["resize_mode"] == "squash"


def test_weights_from_a_file_are_the_ones_exported(tmp_path: Path) -> None:
    import open_clip
    import torch

    from clipserve_models.export import export

    add_model(tmp_path, "tiny", {"embed_dim": 32, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT})
    model = open_clip.create_model("tiny")
    with torch.no_grad():
        model.logit_scale.fill_(np.log(100))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    manifest = export(entry("tiny"), tmp_path / "out", weights=tmp_path / "weights.pt")
    assert manifest.name == "tiny"
    assert manifest.scoring.logit_scale == pytest.approx(100)
    assert (manifest.source.revision or "").startswith("sha256:")
    assert not manifest.source.random_weights

    (tmp_path / "torn.pt").write_bytes((tmp_path / "weights.pt").read_bytes()[:1000])
    with pytest.raises(ModelsError, match=r"torn\.pt does not hold weights"):
        export(entry("tiny"), tmp_path / "out", weights=tmp_path / "torn.pt")


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    from clipserve_models.verify import Case, compare

    add_model(tmp_path, "tiny", {"embed_dim": 32, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT})
    make("tiny", None, tmp_path / "out")
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    right = compare(
        tmp_path / "out", [Case("black", "image.onnx", {"pixels": pixels}, np.ones((1, 32), "f"))]
    )
    assert not right[0].good
    assert str(right[0]).endswith("WRONG")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("coca_ViT-B-32", "CoCa"), ("roberta-ViT-B-32", "transformers")],
)
def test_what_cannot_be_exported_exactly_is_refused(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match=reason):
        make(name, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
