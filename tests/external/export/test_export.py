"""Models that are traced, against PyTorch, with random weights: the real checkpoints cannot be in a test."""

import json
from pathlib import Path
from typing import Any

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest, Source
from clipserve_models.catalog import read_catalog
from clipserve_models.errors import ModelsError
from tests.models.asking import ask
from tests.models.hub.conftest import Export, export, hub  # noqa: F401
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.folders import write_safetensors
from tests.models.variants.conftest import photos  # noqa: F401

TINY_VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
TINY_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
TINY = {"embed_dim": 32, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT}
TRACED_VISION = {
    "image_size": 64,
    "timm_model_name": "test_resnet",
    "timm_pool": "avg",
    "timm_proj": "linear",
}
TINY_SIGLIP = {
    "embed_dim": 48,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": TRACED_VISION,
    "text_cfg": {
        **TINY_TEXT,
        "context_length": 64,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    },
}
MEAN_STD = {"mean": [0.48, 0.45, 0.4], "std": [0.26, 0.27, 0.28]}


def make(name: str, out: Path, weights: Path | None = None, **options: Any) -> ModelManifest:
    """The artifact of open_clip's model, with random weights unless others are given."""
    import torch

    from clipserve_models.traced import trace

    torch.manual_seed(0)
    source = Source(checkpoint="a test's", licence="none", random_weights=weights is None)
    return trace(name, out, name=name, source=source, weights=weights, **{"tag": {}, **options})


def load(name: str, **tag: Any) -> Any:
    """open_clip's model, with the weights that `make` draws."""
    import torch

    from clipserve_models import traced

    torch.manual_seed(0)
    return traced.load(name, None, tag)


def add_model(folder: Path, name: str, config: dict[str, Any]) -> None:
    import open_clip

    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")


def state_of(model: Any) -> dict[str, Any]:
    return {key: value.numpy() for key, value in model.state_dict().items()}


def test_every_entry_of_the_catalog_is_in_open_clip() -> None:
    import open_clip

    for entry in read_catalog().values():
        assert entry.pretrained in open_clip.list_pretrained_tags_by_model(entry.model), entry.name


def test_a_tag_decides_activation_and_preprocessing(tmp_path: Path) -> None:
    add_model(tmp_path, "tiny-tag", TINY)
    plain = load("tiny-tag")
    quick = load("tiny-tag", quick_gelu=True, resize_mode="squash", hf_hub="org/name")
    for model, is_quick, resize in ((plain, False, "shortest"), (quick, True, "squash")):
        assert any(type(module).__name__ == "QuickGELU" for module in model.modules()) is is_quick
        assert model.visual.preprocess_cfg["resize_mode"] == resize


def test_one_encoder_may_be_traced_and_the_other_built(tmp_path: Path) -> None:
    """The ids of CLIP's tokenizer, which cleans texts as SigLIP's does here, are compared with open_clip's."""
    add_model(tmp_path, "tiny-sig", TINY_SIGLIP)
    said: list[str] = []
    text = make("tiny-sig", tmp_path / "out", say=said.append).text
    assert (text.cleaning, text.padding, text.context_length) == ("canonicalize", "fixed", 64)
    assert {"the image encoder is traced", "the text encoder is built"} < set(said)


def test_a_text_encoder_that_no_writer_knows_is_traced_as_it_is(tmp_path: Path) -> None:
    text = {**TINY_TEXT, "qk_norm": True, "pool_type": "first"}
    add_model(tmp_path, "tiny-custom", {**TINY, "text_cfg": text})
    said: list[str] = []
    made = make("tiny-custom", tmp_path / "out", say=said.append)
    assert (made.text.padding, made.text.context_length) == ("fixed", 77)
    assert {"the image encoder is built", "the text encoder is traced"} < set(said)


def test_images_that_are_not_square_are_refused(tmp_path: Path) -> None:
    vision = {**TINY_VISION, "image_size": [32, 64]}
    add_model(tmp_path, "tiny-odd", {**TINY, "vision_cfg": vision})
    with pytest.raises(ModelsError, match=r"\[32, 64\]; .* the service makes square images only"):
        make("tiny-odd", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_another_model_and_torn_ones_are_refused(tmp_path: Path) -> None:
    add_model(tmp_path, "tiny-file", TINY)
    for name, content in (("torn.pt", b"PK"), ("other.safetensors", None)):
        if content is None:
            write_safetensors(tmp_path / name, {"other": state_of(load("tiny-file"))["logit_scale"]})
        else:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelsError, match=f"{name} does not hold weights of this model"):
            make("tiny-file", tmp_path / "out", tmp_path / name)


def test_an_encoder_that_is_built_has_the_bytes_that_its_files_give(tiny: Path, tmp_path: Path) -> None:
    """Files as open_clip publishes a model, read without PyTorch."""
    from clipserve_models.build import build
    from clipserve_models.layouts import read

    made, model = read_manifest(tiny), load("tiny")
    images = {
        key: model.visual.preprocess_cfg[key] for key in ("mean", "std", "interpolation", "resize_mode")
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": images}))
    write_safetensors(tmp_path / "open_clip_model.safetensors", state_of(model))
    source = Source(checkpoint="random weights", licence="none", random_weights=True)
    built = build(read(tmp_path), tmp_path / "built", name="built", source=source, say=lambda _: None)
    assert (built.files, built.image, built.text, built.scoring) == (
        made.files,
        made.image,
        made.text,
        made.scoring,
    )
    assert built.reference.pixels == made.reference.pixels
    assert built.reference.token_ids == made.reference.token_ids


@pytest.fixture
def traced_folder(tmp_path: Path) -> Path:
    """A folder of open_clip's whose image encoder no builder knows."""
    folder = tmp_path / "street"
    folder.mkdir()
    config = {**TINY, "vision_cfg": TRACED_VISION}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": MEAN_STD})
    )
    write_safetensors(folder / "open_clip_model.safetensors", state_of(load(f"local-dir:{folder}")))
    return folder


def test_a_repository_that_is_not_built_is_traced_by_its_name(
    traced_folder: Path,
    hub: LocalHub,  # noqa: F811
    export: Export,  # noqa: F811
    tmp_path: Path,
) -> None:
    hub.repos["org/street"] = served = Repo.of(traced_folder)
    done = export("org/street")
    assert done.returncode == 0, done.stderr
    assert "is traced" in done.stdout
    source = read_manifest(tmp_path / "cache/org--street").source
    assert (source.revision, source.licence) == (served.commit, "mit")
    assert set(source.files or {}) == {"open_clip_model.safetensors"}
    assert not [each for each in served.asked if each.endswith(".py")]


def test_the_fp16_variant_of_a_traced_encoder_is_faithful(
    traced_folder: Path,
    photos: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gate judges it; no weights are asked for, and PyTorch is not."""
    import onnx

    from clipserve_models.variants.making import make_variant, plan_of

    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", str(tmp_path / "cache"))
    assert ask("export", str(traced_folder)).returncode == 0
    plan = plan_of(tmp_path / "cache/street", photos, "fp16", out=tmp_path / "half")
    assert make_variant(plan, say=lambda _: None).precision == "fp16"
    graph = onnx.load(tmp_path / "half/image.onnx").graph
    types = {each.name: each.data_type for each in graph.initializer}
    kernels = [types[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert set(kernels) == {onnx.TensorProto.FLOAT16}
    assert [node.op_type for node in graph.node if "pixels" in node.input] == ["Cast"]


def test_a_name_with_random_weights_is_exported_for_timing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPSERVE_CACHE_DIR", str(tmp_path))
    add_model(tmp_path, "tiny-timing", TINY)
    assert ask("export", "tiny-timing-random").returncode == 0
    manifest = read_manifest(tmp_path / "tiny-timing-random")
    assert (manifest.name, manifest.source.random_weights) == ("tiny-timing-random", True)
    assert "no model named 'tiny-timing'" in ask("export", "tiny-timing").stderr
