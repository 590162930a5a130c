"""Models that are traced, against PyTorch, with random weights: the real checkpoints cannot be in a test."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import open_clip
import pytest
import torch
from onnxruntime import InferenceSession

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest, Source
from clipserve.clip.reference import reference_pixels
from clipserve_models import traced
from clipserve_models.catalog import read_catalog
from clipserve_models.errors import ModelsError
from clipserve_models.variants.making import make_variant, plan_of
from tests.external.export.families import write_gemma_tokenizer
from tests.models.asking import ask
from tests.models.conftest import cache, photos  # noqa: F401
from tests.models.hub.conftest import Export, export, hub  # noqa: F401
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.saved import write_safetensors

TINY_VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
TINY_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
TINY = {"embed_dim": 32, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT}
TRACED_VISION = {
    "image_size": 64,
    "timm_model_name": "test_resnet",
    "timm_pool": "avg",
    "timm_proj": "linear",
}
MEAN_STD = {"mean": [0.48, 0.45, 0.4], "std": [0.26, 0.27, 0.28]}


def make(name: str, out: Path, weights: Path | None = None, **options: Any) -> ModelManifest:
    """The artifact of open_clip's model, with random weights unless others are given."""
    torch.manual_seed(0)
    source = Source(checkpoint="a test's", licence="none", random_weights=weights is None)
    return traced.trace(name, out, name=name, source=source, weights=weights, **{"tag": {}, **options})


def load(name: str, **tag: Any) -> Any:
    """open_clip's model, with the weights that `make` draws."""
    torch.manual_seed(0)
    return traced.load(name, None, tag)


def add_model(folder: Path, name: str, config: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")


def with_text(**text: Any) -> dict[str, Any]:
    """The tiny model with other facts of its text encoder."""
    return {**TINY, "custom_text": True, "text_cfg": {**TINY_TEXT, **text}}


def state_of(model: Any) -> dict[str, Any]:
    return {key: value.numpy() for key, value in model.state_dict().items()}


def test_every_entry_of_the_catalog_is_in_open_clip() -> None:
    for entry in read_catalog().values():
        assert entry.pretrained in open_clip.list_pretrained_tags_by_model(entry.model), entry.name


def test_a_tag_decides_activation_and_preprocessing(tmp_path: Path) -> None:
    add_model(tmp_path, "tiny-tag", TINY)
    plain = load("tiny-tag")
    quick = load("tiny-tag", quick_gelu=True, resize_mode="squash", hf_hub="org/name")
    for model, is_quick, resize in ((plain, False, "shortest"), (quick, True, "squash")):
        assert any(type(module).__name__ == "QuickGELU" for module in model.modules()) is is_quick
        assert model.visual.preprocess_cfg["resize_mode"] == resize


def test_what_cannot_be_traced_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_model(tmp_path, "tiny-odd", {**TINY, "vision_cfg": {**TINY_VISION, "image_size": [32, 64]}})
    absent = {"hf_tokenizer_name": str(tmp_path / "absent")}
    add_model(tmp_path, "tiny-absent", with_text(**absent))
    add_model(tmp_path, "tiny-file", TINY)
    (tmp_path / "torn.pt").write_bytes(b"PK")
    write_safetensors(tmp_path / "other.safetensors", {"other": state_of(load("tiny-file"))["logit_scale"]})

    def refused(name: str, said: str, weights: str | None = None) -> str:
        with pytest.raises(ModelsError, match=said) as refusal:
            make(name, tmp_path / "out", tmp_path / weights if weights else None)
        assert not (tmp_path / "out").exists()
        return str(refusal.value)

    refused("tiny-odd", r"\[32, 64\]; .* the service makes square images only")
    for name in ("torn.pt", "other.safetensors"):
        refused("tiny-file", f"{name} does not hold weights of this model", name)
    assert "not installed" not in refused("tiny-absent", r"not be loaded from the model hub(.|\n)*HF_HOME")
    tokenizer = write_gemma_tokenizer(tmp_path / "tokenizer")
    add_model(tmp_path, "tiny-lacking", with_text(vocab_size=400, hf_tokenizer_name=str(tokenizer)))
    monkeypatch.setitem(sys.modules, "transformers", None)  # as Python has it of a package that is not there
    assert "hub" not in refused("tiny-lacking", "transformers is not installed: pip install")


def test_a_checkpoint_of_training_is_built_as_it_is_told(cache: Path, tmp_path: Path) -> None:  # noqa: F811
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt", force_quick_gelu=True).eval()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    file = tmp_path / "epoch_1.pt"
    torch.save({"epoch": 1, "name": "run", "state_dict": state}, file)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    numbers = [f"--mean {' '.join(map(str, mean))}", f"--std {' '.join(map(str, std))}"]
    words = f"--name mine --activation quick_gelu {' '.join(numbers)}".split()
    done = ask("export", str(file), "--model", "ViT-S-32-alt", *words)
    assert done.returncode == 0, done.stderr
    source = read_manifest(cache / "mine").source
    assert (source.licence, source.checkpoint) == ("not stated", "a file of yours: epoch_1.pt")
    assert str(source.revision).startswith("sha256:")
    pixels = reference_pixels(224)
    images = (pixels / 255 - np.array(mean)) / np.array(std)
    with torch.no_grad():
        expected = model.encode_image(torch.tensor(images.transpose(0, 3, 1, 2)).float(), normalize=True)
    (found,) = InferenceSession(cache / "mine/image.onnx").run(None, {"pixels": pixels})
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6)


@pytest.fixture
def traced_folder(tmp_path: Path) -> Path:
    """A folder of open_clip's whose image encoder no builder knows."""
    folder = tmp_path / "street"
    folder.mkdir()
    config = {"model_cfg": {**TINY, "vision_cfg": TRACED_VISION}, "preprocess_cfg": MEAN_STD}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    write_safetensors(folder / "open_clip_model.safetensors", state_of(load(f"local-dir:{folder}")))
    return folder


def test_a_repository_that_is_not_built_is_traced_by_its_name_and_has_a_faithful_fp16_variant(
    traced_folder: Path,
    hub: LocalHub,  # noqa: F811
    export: Export,  # noqa: F811
    photos: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """The gate judges it; no weights are asked for, and PyTorch is not."""
    hub.repos["org/street"] = served = Repo.of(traced_folder)
    done = export("org/street")
    assert done.returncode == 0, done.stderr
    assert "is traced" in done.stdout
    source = read_manifest(tmp_path / "cache/org--street").source
    assert (source.revision, source.licence) == (served.commit, "mit")
    assert set(source.files or {}) == {"open_clip_model.safetensors"}
    assert not [each for each in served.asked if each.endswith(".py")]

    plan = plan_of(tmp_path / "cache/org--street", photos, "fp16", out=tmp_path / "half")
    assert make_variant(plan, say=lambda _: None).precision == "fp16"
    graph = onnx.load(tmp_path / "half/image.onnx").graph
    types = {each.name: each.data_type for each in graph.initializer}
    kernels = [types[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert set(kernels) == {onnx.TensorProto.FLOAT16}
    assert [node.op_type for node in graph.node if "pixels" in node.input] == ["Cast"]


def test_a_name_with_random_weights_is_exported_for_timing(cache: Path, tmp_path: Path) -> None:  # noqa: F811
    add_model(tmp_path, "tiny-timing", TINY)
    assert ask("export", "tiny-timing-random").returncode == 0
    manifest = read_manifest(cache / "tiny-timing-random")
    assert (manifest.name, manifest.source.random_weights) == ("tiny-timing-random", True)
    assert "no model named 'tiny-timing'" in ask("export", "tiny-timing").stderr
