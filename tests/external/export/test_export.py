"""Models that are traced, against PyTorch, with random weights: the real checkpoints cannot be in a test."""

import json
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import open_clip
import pytest
import torch
from onnxruntime import InferenceSession

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest, Source
from clipserve.clip.reference import REFERENCE_TEXTS, reference_pixels
from clipserve.clip.tokenizer import load_tokenizer
from clipserve_models import traced
from clipserve_models.build import build
from clipserve_models.catalog import read_catalog
from clipserve_models.errors import ModelsError
from clipserve_models.layouts import read
from clipserve_models.variants.making import make_variant, plan_of
from clipserve_models.verify import Graph
from tests.external.export.families import CAPTIONS, write_gemma_tokenizer
from tests.golden.make_tokens import hurting_strings
from tests.models.asking import ask
from tests.models.conftest import cache, photos  # noqa: F401
from tests.models.hub.conftest import Export, export, hub  # noqa: F401
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.folders import write_safetensors

TINY_VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
TINY_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
TINY = {"embed_dim": 32, "vision_cfg": TINY_VISION, "text_cfg": TINY_TEXT}
TRACED_VISION = {
    "image_size": 64,
    "timm_model_name": "test_resnet",
    "timm_pool": "avg",
    "timm_proj": "linear",
}
TINY_SIGLIP = {"embed_dim": 48, "init_logit_bias": -10, "custom_text": True, "vision_cfg": TRACED_VISION}
TINY_SIGLIP["text_cfg"] = {
    **TINY_TEXT,
    "context_length": 64,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "tokenizer_kwargs": {"clean": "canonicalize"},
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
    """The tiny SigLIP with another text configuration."""
    return {**TINY_SIGLIP, "text_cfg": {**cast(dict[str, Any], TINY_SIGLIP["text_cfg"]), **text}}


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


@pytest.mark.parametrize(
    ("config", "image", "text", "facts"),
    [
        pytest.param(TINY_SIGLIP, "traced", "built", ("canonicalize", "fixed", 64), id="the image encoder"),
        pytest.param(
            {**TINY, "text_cfg": {**TINY_TEXT, "qk_norm": True, "pool_type": "first"}},
            *("built", "traced", ("lower", "fixed", 77)),
            id="the text encoder",
        ),
    ],
)
def test_one_encoder_may_be_traced_and_the_other_built(
    config: dict[str, Any], image: str, text: str, facts: tuple[Any, ...], tmp_path: Path
) -> None:
    """The ids of CLIP's tokenizer, which cleans texts as SigLIP's does here, are compared with open_clip's."""
    add_model(tmp_path, f"tiny-{image}", config)
    said: list[str] = []
    made = make(f"tiny-{image}", tmp_path / "out", say=said.append).text
    assert (made.cleaning, made.padding, made.context_length) == facts
    assert {f"the image encoder is {image}", f"the text encoder is {text}"} < set(said)


def test_what_cannot_be_traced_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_model(tmp_path, "tiny-odd", {**TINY, "vision_cfg": {**TINY_VISION, "image_size": [32, 64]}})
    absent = {"hf_tokenizer_name": str(tmp_path / "absent")}
    add_model(tmp_path, "tiny-absent", with_text(**absent))
    add_model(tmp_path, "tiny-none", with_text(**absent, hf_model_name=str(tmp_path / "absent")))
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
    refused("tiny-none", r"tiny-none's text encoder could not be loaded(.|\n)*HF_HOME")
    tokenizer = write_gemma_tokenizer(tmp_path / "tokenizer")
    add_model(tmp_path, "tiny-lacking", with_text(vocab_size=400, hf_tokenizer_name=str(tokenizer)))
    monkeypatch.setitem(sys.modules, "transformers", None)  # as Python has it of a package that is not there
    assert "hub" not in refused("tiny-lacking", "transformers is not installed: pip install")


def test_a_tokenizer_of_transformers_is_exported_with_equal_ids(tmp_path: Path) -> None:
    tokenizer = write_gemma_tokenizer(tmp_path / "tokenizer")
    add_model(tmp_path, "tiny-siglip2", with_text(vocab_size=400, hf_tokenizer_name=str(tokenizer)))
    manifest = make("tiny-siglip2", tmp_path / "out")
    assert (manifest.scoring.function, manifest.scoring.logit_bias) == ("sigmoid", -10.0)
    text = manifest.text
    assert (text.cleaning, text.padding, text.context_length) == ("canonicalize", "fixed", 64)
    assert (text.pad_id, text.eot_id) == (0, 1)
    original, own = open_clip.get_tokenizer("tiny-siglip2"), load_tokenizer(tmp_path / "out", text)
    assert type(original).__name__ == "HFTokenizer"
    texts = [*CAPTIONS, "", "A  Photo, of: a CAT!", "cat " * 100, *hurting_strings(2_000, seed=20261125)]
    ids, _ = own.pad(own.encode(texts, truncate=True), text.context_length)
    for each, found, expected in zip(texts, ids, original(texts).numpy(), strict=True):
        np.testing.assert_array_equal(found, expected, err_msg=ascii(each))
    # It pools at the last position: the lengths are an input and change nothing.
    token_ids, lengths = own.pad(own.encode(REFERENCE_TEXTS), 64)
    graph = Graph(tmp_path / "out/text.onnx")
    one, other = (graph.run({"token_ids": token_ids, "lengths": n}) for n in (lengths, lengths - 1))
    np.testing.assert_array_equal(one, other)


def test_an_encoder_that_is_built_has_the_bytes_that_its_files_give(tiny: Path, tmp_path: Path) -> None:
    """Files as open_clip publishes a model, read without PyTorch."""
    made, model = read_manifest(tiny), load("tiny")
    keys = ("mean", "std", "interpolation", "resize_mode")
    images = {key: model.visual.preprocess_cfg[key] for key in keys}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": images}))
    write_safetensors(tmp_path / "open_clip_model.safetensors", state_of(model))
    source = Source(checkpoint="random weights", licence="none", random_weights=True)
    built = build(read(tmp_path), tmp_path / "built", name="built", source=source, say=lambda _: None)
    for fact in ("files", "image", "text", "scoring"):
        assert getattr(built, fact) == getattr(made, fact)
    assert built.reference.pixels == made.reference.pixels
    assert built.reference.token_ids == made.reference.token_ids


def test_a_checkpoint_of_training_is_built_as_it_is_told(cache: Path, tmp_path: Path) -> None:  # noqa: F811
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt", force_quick_gelu=True).eval()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    file = tmp_path / "epoch_1.pt"
    torch.save({"epoch": 1, "name": "run", "state_dict": state}, file)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    words = [
        "--name",
        "mine",
        "--mean",
        *map(str, mean),
        "--std",
        *map(str, std),
        "--activation",
        "quick_gelu",
    ]
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
