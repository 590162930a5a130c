"""What lacks something, contradicts itself or is of another family is refused, by the file and the key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.layouts import read
from clipserve_models.model_files import UserFacts
from tests.models.layouts.folders import (
    OPEN_CLIP,
    edit,
    open_clip_folder,
    transformers_folder,
    without,
    write_json,
    write_safetensors,
    write_shards,
)
from tests.models.towers import CLIP, SIGLIP

Change = Callable[[Path], Any]
CONFIG, IMAGES, TOKENS = "config.json", "preprocessor_config.json", "tokenizer_config.json"


def told(file: str, *keys: str, value: Any = ...) -> Change:
    """Set the value of a key, or remove it."""
    return lambda folder: edit(folder / file, (keys, value))


def gone(*names: str) -> Change:
    return lambda folder: without(folder, *names)


def tensors(change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(folder: Path) -> None:
        arrays = transformers_folder(folder, CLIP)
        change(arrays)
        write_safetensors(folder / "model.safetensors", arrays)

    return apply


def shards(change: Change) -> Change:
    def apply(folder: Path) -> None:
        write_shards(folder, transformers_folder(folder, CLIP))
        without(folder, "model.safetensors")
        change(folder)

    return apply


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def bert(*words: str) -> Change:
    """Another tokenizer, with this vocabulary."""

    def apply(folder: Path) -> None:
        write_json(folder / TOKENS, {"tokenizer_class": "BertTokenizer"})
        (folder / "vocab.txt").write_text("\n".join(words))

    return apply


def cut(name: str) -> Change:
    def apply(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-7])

    return apply


OF_TRANSFORMERS: list[tuple[Change, str]] = [
    (gone(CONFIG), "neither config.json nor open_clip_config.json"),
    (cut(CONFIG), "config.json is no JSON"),
    (lambda folder: (folder / CONFIG).write_text("[1]"), "config.json is no JSON object"),
    (told(CONFIG, "auto_map", value={"AutoModel": "code.Model"}), "auto_map is .* code .* never run"),
    (
        told(TOKENS, "auto_map", value={"AutoTokenizer": "code.T"}),
        "tokenizer_config.json: auto_map is .* never run",
    ),
    (told(CONFIG, "model_type"), "config.json has no model_type"),
    (told(CONFIG, "model_type", value="blip"), 'model_type is "blip"; supported: clip'),
    (told(CONFIG, "model_type", value="siglip2"), "model_type .* NaFlex"),
    (told(CONFIG, "architectures", value=["CLIPVisionModel"]), r"architectures .* CLIPModel is needed"),
    (
        told(CONFIG, "vision_config", "hidden_act", value="silu"),
        "vision_config.hidden_act is .silu.; supported",
    ),
    (told(CONFIG, "vision_config", "num_channels", value=4), "vision_config.num_channels is 4; 3 are needed"),
    (told(CONFIG, "vision_config", "patch_size", value=[8, 16]), "vision_config.patch_size .* square"),
    (told(CONFIG, "text_config", "hidden_size", value="32"), "text_config.hidden_size .* whole number"),
    (told(CONFIG, "text_config", "num_attention_heads", value=5), "5 heads"),
    (told(CONFIG, "text_config", "num_hidden_layers", value=3), "no tensor 'text_model.encoder.layers.2"),
    (told(CONFIG, "text_config", "num_hidden_layers", value=1), "has no role"),
    (
        told(CONFIG, "text_config", "intermediate_size", value=64),
        r"blocks.0.up.weight. has the shape \[128, 32\]",
    ),
    (
        told(CONFIG, "text_config", "eos_token_id", value=7),
        "text_config.eos_token_id is 7; .* has the id 599",
    ),
    (gone(IMAGES), "preprocessor_config.json is missing"),
    (told(IMAGES, "image_mean"), "preprocessor_config.json has no image_mean"),
    (told(IMAGES, "image_std", value=[0.5]), "image_std is .*; three numbers"),
    (told(IMAGES, "resample"), "preprocessor_config.json has no resample"),
    (told(IMAGES, "resample", value=1), "resample is 1; supported: 2, 3"),
    (
        told(IMAGES, "size", value=40),
        "size is 40; 32 is needed, which config.json says in vision_config.image_size",
    ),
    (told(IMAGES, "crop_size", value={"height": 32, "width": 30}), "crop_size .* square"),
    (told(IMAGES, "crop_size"), "preprocessor_config.json has no crop_size"),
    (told(IMAGES, "do_center_crop", value=False), "size .* uncropped"),
    (told(IMAGES, "do_normalize", value=False), "do_normalize is false"),
    (told(IMAGES, "rescale_factor", value=1), "rescale_factor is 1; 1/255 is needed"),
    (told(IMAGES, "do_pad", value=True), "do_pad is true"),
    (gone("vocab.json"), "vocab.json is missing"),
    (gone("merges.txt"), "merges.txt is missing"),
    (lambda folder: (folder / "merges.txt").write_text("#version: 0.2\n"), "merges.txt has no merges"),
    (lambda folder: (folder / "merges.txt").write_text("c a t\n"), "not CLIP's vocabulary"),
    (told(TOKENS, "pad_token", value="[PAD]"), "pad_token .* no token '\\[PAD\\]'"),
    (told(TOKENS, "padding_side", value="left"), "padding_side .* left"),
    (told(TOKENS, "model_max_length", value=64), "model_max_length is 64; .* 77 tokens"),
    (told(TOKENS, "tokenizer_class", value="GPT2Tokenizer"), "tokenizer.json is missing"),
    (
        told(TOKENS, "tokenizer_class", value="BertTokenizer"),
        "vocab.txt is missing, and so is tokenizer.json",
    ),
    (bert("[PAD]", "[CLS]"), r"vocab.txt has no token '\[UNK\]'"),
    (told(TOKENS, "tokenizer_class", value="SiglipTokenizer"), "spiece.model is missing"),
    (told("vocab.json", "more", value=600), "the id 600, and the model only 600 tokens"),
    (pickled, r"pytorch_model.bin is no file that PyTorch 1.6 or later has saved"),
    (gone("model.safetensors"), "has no weights: model.safetensors or pytorch_model.bin is missing"),
    (cut("model.safetensors"), "model.safetensors .* cut short"),
    (tensors(lambda arrays: arrays.pop("visual_projection.weight")), "no tensor 'visual_projection.weight'"),
    (tensors(lambda arrays: arrays.update(adapter=np.zeros(3))), "'adapter' has no role"),
    (tensors(lambda arrays: arrays.update(logit_scale=np.float32(np.nan))), "logit_scale.* is nan"),
    (tensors(lambda arrays: arrays.update(logit_scale=np.float32(99))), "logit_scale.* is 99"),
    (shards(gone("model-00002-of-00002.safetensors")), "index.json names model-00002-of-00002.safetensors"),
    (shards(cut("model-00001-of-00002.safetensors")), "00001-of-00002.safetensors .* cut short"),
    (
        shards(
            told(
                "model.safetensors.index.json",
                "weight_map",
                "ghost",
                value="model-00001-of-00002.safetensors",
            )
        ),
        "ghost",
    ),
    (
        shards(told("model.safetensors.index.json", "weight_map", "ghost", value=["a", "b"])),
        r'weight_map.ghost is \["a", "b"\]; a string is needed',
    ),
    (
        shards(told("model.safetensors.index.json", "weight_map", "ghost", value="../secret.safetensors")),
        "secret",
    ),
]
OPEN, VISION, TEXT = "open_clip_config.json", ("model_cfg", "vision_cfg"), ("model_cfg", "text_cfg")
OF_OPEN_CLIP: list[tuple[Change, str]] = [
    (told(OPEN, "model_cfg"), "open_clip_config.json has no model_cfg"),
    (told(OPEN, "preprocess_cfg"), "has no preprocess_cfg.mean"),
    (told(OPEN, "preprocess_cfg", "mean"), "has no preprocess_cfg.mean"),
    (told(OPEN, "preprocess_cfg", "interpolation", value="random"), "interpolation .* supported"),
    (told(OPEN, "preprocess_cfg", "resize_mode", value="longest"), "resize_mode .* supported"),
    (told(OPEN, "preprocess_cfg", "size", value=64), "preprocess_cfg.size is 64; .* is 32"),
    (told(OPEN, "model_cfg", "multimodal_cfg", value={"layers": 2}), "multimodal_cfg"),
    (told(OPEN, *VISION, "attentional_pool", value=True), "vision_cfg.attentional_pool is true"),
    (told(OPEN, *VISION, "pool_type", value="avg"), "pool_type .* supported: 'tok'"),
    (told(OPEN, *VISION, "layers", value=[3, 4, 6]), "no ResNet: it needs four stages"),
    (told(OPEN, *VISION, "layers", value=[3, "4", 6, 3]), "vision_cfg.layers .* whole numbers"),
    (
        told(OPEN, *VISION, "timm_model_name", value="convnext_base"),
        "convnext_base.; of timm's models only SigLIP's are built",
    ),
    (told(OPEN, *TEXT, "hf_model_name", value="roberta-base"), "text_cfg.hf_model_name is .roberta-base"),
    (told(OPEN, *TEXT, "embed_cls", value=True), "text_cfg.embed_cls"),
    (told(OPEN, *TEXT, "proj_type", value="none"), "proj_type"),
    (told(OPEN, *TEXT, "pool_type", value="first"), "pool_type"),
    (told(OPEN, *TEXT, "act_kwargs", value={"approximate": "tanh"}), "act_kwargs is .*quick_gelu has none"),
    (told(OPEN, *TEXT, "vocab_size", value=50000), "vocab_size is 50000"),
    (told(OPEN, *TEXT, "hf_tokenizer_name", value="bert-base"), "tokenizer_config.json is missing"),
    (told(OPEN, *TEXT, "tokenizer_kwargs", value={"strip_sep_token": True}), "strip_sep_token"),
    (gone("open_clip_model.safetensors"), "open_clip_model.safetensors or .* is missing"),
]
TIMM = {
    "timm_model_name": "vit_base_patch16_siglip_224",
    "image_size": 224,
    "timm_pool": "map",
    "timm_proj": "none",
}
OF_TIMM: list[tuple[dict[str, Any], str]] = [
    ({"timm_model_name": "vit_base_patch16_siglip_gap_224"}, "only SigLIP's are built"),
    ({"image_size": 256}, "image_size is 256; vit_base_patch16_siglip_224 has 224"),
    ({"timm_pool": "avg"}, "timm_pool"),
    ({"timm_proj": "linear"}, "timm_proj"),
    ({}, "embed_dim is 16, and vit_base_patch16_siglip_224 gives 768"),
]


def numbered(cases: Sequence[tuple[Any, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("change", "said"), cases, ids=[each[1][:40] for each in cases])


@numbered(OF_TRANSFORMERS)
def test_a_folder_of_transformers_is_refused(change: Change, said: str, tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    change(tmp_path)
    with pytest.raises(ModelsError, match=said) as refusal:
        read(tmp_path)
    assert str(tmp_path) in str(refusal.value)


@numbered(OF_OPEN_CLIP)
def test_a_folder_of_open_clip_is_refused(change: Change, said: str, tmp_path: Path) -> None:
    open_clip_folder(tmp_path, OPEN_CLIP)
    change(tmp_path)
    with pytest.raises(ModelsError, match=said):
        read(tmp_path)


@numbered(OF_TIMM)
def test_other_models_of_timm_are_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    open_clip_folder(tmp_path, OPEN_CLIP)
    edit(tmp_path / OPEN, (VISION, TIMM | change))
    with pytest.raises(ModelsError, match=said):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (told(CONFIG, "vision_config", "vision_use_head", value=False), "vision_use_head is false"),
        (told(CONFIG, "text_config", "projection_size", value=32), "projection_size is 32; .* is 64"),
        (told(IMAGES, "size", value={"height": 50, "width": 60}), "size .* square"),
        (cut("spiece.model"), "spiece.model is not a tokenizer of SigLIP"),
        (
            lambda folder: (folder / "spiece.model").write_bytes(b""),
            "spiece.model is not a tokenizer of SigLIP",
        ),
    ],
)
def test_a_folder_of_siglip_is_refused(change: Change, said: str, tmp_path: Path) -> None:
    transformers_folder(tmp_path, SIGLIP, "siglip")
    change(tmp_path)
    with pytest.raises(ModelsError, match=said):
        read(tmp_path)


def test_a_tokenizer_without_its_end_of_text_is_refused(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    read(tmp_path).tokenizer.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / TOKENS, (["tokenizer_class"], "PreTrainedTokenizerFast"))
    edit(tmp_path / "tokenizer.json", (["post_processor"], None))
    with pytest.raises(ModelsError, match=r"tokenizer.json ends no text with the eos_token of"):
        read(tmp_path)


def test_a_value_that_contradicts_the_files_is_refused(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    with pytest.raises(ModelsError, match=r"image_mean is .*0.5.*; \[0.1, 0.2, 0.3\] was given"):
        read(tmp_path, UserFacts(mean=(0.1, 0.2, 0.3)))
    for by_user in (UserFacts(activation="gelu"), UserFacts(architecture="ViT-B-32")):
        with pytest.raises(ModelsError, match="say what its architecture and activation are"):
            read(tmp_path, by_user)


def test_a_file_is_refused_that_does_not_say_enough(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    write_safetensors(file, {"logit_scale": np.ones(1, np.float32)})
    half = (0.5, 0.5, 0.5)
    with pytest.raises(ModelsError, match="give open_clip's name of it with --model"):
        read(file)
    with pytest.raises(ModelsError, match=r"no architecture 'ViT-B-33' of open_clip .* ViT-B-32"):
        read(file, UserFacts(architecture="ViT-B-33", mean=half, std=half))
    with pytest.raises(ModelsError, match="give --mean and --std"):
        read(file, UserFacts(architecture="ViT-B-32"))
    with pytest.raises(ModelsError, match="cannot be gelu_tanh"):
        read(file, UserFacts(architecture="ViT-B-32", mean=half, std=half, activation="gelu_tanh"))
    with pytest.raises(ModelsError, match=r"mine.safetensors has no tensor 'visual.conv1.weight'"):
        read(file, UserFacts(architecture="ViT-B-32", mean=half, std=half))
    for path in (file.rename(tmp_path / "mine.zip"), tmp_path / "absent.safetensors"):
        with pytest.raises(ModelsError, match="neither a folder nor a file of weights"):
            read(path, UserFacts(architecture="ViT-B-32", mean=half, std=half))


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ([{"type": "models.Transformer", "path": "0_CLIPModel"}], "has a module Transformer"),
        ([{"type": "models.CLIPModel", "path": "../other"}], "is no folder in this one"),
        ({"type": "models.CLIPModel"}, "no JSON list of objects"),
        ([{"path": "0_CLIPModel"}], r"modules.json has no 0\.type"),
    ],
)
def test_modules_that_are_no_clip_are_refused(modules: Any, said: str, tmp_path: Path) -> None:
    transformers_folder(tmp_path / "0_CLIPModel", CLIP)
    write_json(tmp_path / "modules.json", modules)
    with pytest.raises(ModelsError, match=said):
        read(tmp_path)


def test_a_size_that_the_service_cannot_serve_is_refused(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    edit(tmp_path / CONFIG, (["vision_config", "image_size"], 5_000))
    edit(tmp_path / IMAGES, (["size"], 5_000), (["crop_size"], 5_000))
    with pytest.raises(ModelsError, match="size cannot be 5000"):
        read(tmp_path)
