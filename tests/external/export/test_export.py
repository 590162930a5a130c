"""Export against PyTorch, with random weights: the real checkpoints cannot be in a test."""

import json
from pathlib import Path
from typing import Any

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import lowest_cosine, reference_pixels
from clipserve_models.catalog import Entry, read_catalog, resolve
from clipserve_models.errors import ModelsError
from clipserve_models.verify import MIN_COSINE

TINY_VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
TINY_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
TINY = {"embed_dim": 32, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT}
TINY_SIGLIP = {
    "embed_dim": 48,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {
        "image_size": 64,
        "timm_model_name": "test_resnet",
        "timm_pool": "avg",
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


def test_the_images_of_a_siglip_are_squashed_as_its_tag_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    from clipserve_models import checkpoint

    config = open_clip.get_model_config("ViT-B-16-SigLIP2")
    config["text_cfg"] |= {"vocab_size": 400, "layers": 1}  # else half a gigabyte
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16-SigLIP2", config)
    siglip, _ = checkpoint.load(entry("ViT-B-16-SigLIP2", "webli"), weights=None, random_weights=True, seed=0)
    assert siglip.visual.preprocess_cfg["resize_mode"] == "squash"


def test_the_weights_decide_the_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's tag means QuickGELU, x * sigmoid(1.702 x), though open_clip's configuration does not say so."""
    import open_clip
    import torch

    from clipserve_models import checkpoint

    config = open_clip.get_model_config("ViT-B-32")
    config["vision_cfg"]["width"], config["text_cfg"]["layers"] = 192, 1  # small, and as deep
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", config)
    vectors = []
    for tag, is_quick in (("openai", True), ("laion2b_s34b_b79k", False)):
        model, _ = checkpoint.load(entry("ViT-B-32", tag), weights=None, random_weights=True, seed=0)
        assert any(type(module).__name__ == "QuickGELU" for module in model.modules()) is is_quick
        with torch.no_grad():
            pixels = checkpoint.normalized(model, reference_pixels(224))
            vectors.append(model.encode_image(pixels, normalize=True).numpy())
    # The same seed, hence the same weights: what differs is the activation, enough for an export to be refused.
    assert lowest_cosine(*vectors) < MIN_COSINE


def test_clip_s_tokenizer_may_clean_texts_as_siglip_s_does(tmp_path: Path) -> None:
    """Its ids are compared with open_clip's. The image encoder of this one is traced, that of texts built."""
    add_model(tmp_path, "tiny-sig", TINY_SIGLIP)
    said: list[str] = []
    text = make("tiny-sig", None, tmp_path / "out", say=said.append).text
    assert (text.cleaning, text.padding, text.context_length) == ("canonicalize", "fixed", 64)
    assert {"the image encoder is traced", "the text encoder is built from its weights"} < set(said)


def test_images_that_are_not_square_are_refused(tmp_path: Path) -> None:
    vision = {**TINY_VISION, "image_size": [32, 64]}
    add_model(tmp_path, "tiny-odd", {"embed_dim": 32, "vision_cfg": vision, "text_cfg": TINY_TEXT})
    with pytest.raises(
        ModelsError, match=r"image_size is \[32, 64\]; .* the service makes square images only"
    ):
        make("tiny-odd", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_open_clip_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match="open_clip has no model 'ViT-B-33'"):
        make("ViT-B-33", None, tmp_path / "out")


def test_a_text_encoder_that_no_writer_knows_is_traced_as_it_is(tmp_path: Path) -> None:
    text = {**TINY_TEXT, "vocab_size": 49408, "qk_norm": True, "pool_type": "first"}
    add_model(tmp_path, "tiny-custom", {"embed_dim": 32, "vision_cfg": TINY_VISION, "text_cfg": text})
    said: list[str] = []
    made = make("tiny-custom", None, tmp_path / "out", say=said.append)
    assert (made.text.padding, made.text.context_length) == ("fixed", 77)
    assert {"the image encoder is built from its weights", "the text encoder is traced"} < set(said)


def test_an_encoder_that_is_built_has_the_bytes_that_its_files_give(tiny: Path, tmp_path: Path) -> None:
    """Files as open_clip publishes a model, read without PyTorch."""
    from safetensors.torch import save_file

    from clipserve.clip.manifest import Source
    from clipserve_models import checkpoint
    from clipserve_models.build import build
    from clipserve_models.layouts import read

    made = read_manifest(tiny)
    model, _ = checkpoint.load(entry("tiny"), weights=None, random_weights=True, seed=0)
    images = {
        key: model.visual.preprocess_cfg[key] for key in ("mean", "std", "interpolation", "resize_mode")
    }
    told = {"model_cfg": TINY, "preprocess_cfg": images}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(told))
    save_file(
        {key: value.contiguous() for key, value in model.state_dict().items()},
        tmp_path / "open_clip_model.safetensors",
    )
    source = Source(checkpoint="random weights", licence="none", random_weights=True)
    built = build(read(tmp_path), tmp_path / "built", name="built", source=source, say=lambda _: None)
    assert built.files == made.files
    assert (built.image, built.text, built.scoring) == (made.image, made.text, made.scoring)
    assert (built.reference.pixels, built.reference.token_ids) == (
        made.reference.pixels,
        made.reference.token_ids,
    )
