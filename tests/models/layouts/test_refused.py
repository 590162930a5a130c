"""What lacks something, contradicts itself or is of another family is refused, by the file and the key."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.layouts import read
from clipserve_models.model_files import NOTHING, UserFacts
from tests.models.layouts.changes import Change, both, cut, gone, holds, told, write_json
from tests.models.layouts.saved import WEIGHTS, write_safetensors, write_shards
from tests.models.layouts.written import clip, open_clip, siglip

SHARD = "model-0000{}-of-00002.safetensors"
# A file, and where a key is in it.
CONFIG, VISION, WORDS = (f"config.json {part}" for part in ("", "vision_config.", "text_config."))
IMAGES, TOKENS, VOCABULARY = "preprocessor_config.json ", "tokenizer_config.json ", "vocab.json "
OPEN, INDEX = "open_clip_config.json ", f"{WEIGHTS}.index.json weight_map."
OPEN_VISION, OPEN_TEXT = (f"{OPEN}model_cfg.{part}_cfg." for part in ("vision", "text"))


def tensors(change: Callable[[dict[str, Any]], Any]) -> Change:
    def apply(folder: Path) -> None:
        arrays = clip(folder)
        change(arrays)
        write_safetensors(folder / WEIGHTS, arrays)

    return apply


def shards(change: Change) -> Change:
    def apply(folder: Path) -> None:
        write_shards(folder, clip(folder))
        change(folder)

    return apply


def another_tokenizer(folder: Path) -> None:
    """Of a class that is taken as it stands, whose texts have no end."""
    read(folder).tokenizer.save(str(folder / "tokenizer.json"))
    told(f"{TOKENS}tokenizer_class", "PreTrainedTokenizerFast")(folder)
    told("tokenizer.json post_processor", None)(folder)


TIMM = {"timm_model_name": "vit_base_patch16_siglip_224", "image_size": 224}
TIMM |= {"timm_pool": "map", "timm_proj": "none"}


BERT = {"hf_model_name": "bert-base-uncased", "hf_pooler_type": "cls_last_hidden_state_pooler"}


def of_timm(**others: Any) -> Change:
    return told(OPEN_VISION.removesuffix("."), TIMM | others)


def modules(value: Any) -> Change:
    """A folder of sentence-transformers."""

    def apply(folder: Path) -> None:
        gone("config.json")(folder)
        clip(folder / "0_CLIPModel")
        write_json(folder / "modules.json", value)

    return apply


SIDES = (f"{VISION}image_size", f"{IMAGES}size", f"{IMAGES}crop_size")
CODE = {"AutoModel": "code.Model"}
OF_CLIP: list[tuple[Change, str]] = [
    (gone("config.json"), "neither config.json nor open_clip_config.json"),
    (cut("config.json"), "config.json is no JSON"),
    (
        both(told(f"{CONFIG}auto_map", CODE), told(f"{CONFIG}model_type", "own")),
        "config.json: auto_map is .* code .* never run",
    ),
    (told(f"{TOKENS}auto_map", CODE), "tokenizer_config.json: auto_map is .* never run"),
    (told(f"{CONFIG}model_type"), "config.json has no model_type"),
    (told(f"{CONFIG}model_type", "blip"), 'model_type is "blip"; supported: clip'),
    (told(f"{CONFIG}model_type", "siglip2"), "model_type .* NaFlex"),
    (told(f"{CONFIG}architectures", ["CLIPVisionModel"]), r"architectures .* CLIPModel is needed"),
    (told(f"{VISION}hidden_act", "silu"), "vision_config.hidden_act is .silu.; supported"),
    (told(f"{VISION}num_channels", 4), "vision_config.num_channels is 4; 3 are needed"),
    (told(f"{WORDS}hidden_size", "32"), "text_config.hidden_size .* whole number"),
    (told(f"{WORDS}num_attention_heads", 5), "5 heads"),
    (told(f"{WORDS}num_hidden_layers", 3), "no tensor 'text_model.encoder.layers.2"),
    (told(f"{WORDS}num_hidden_layers", 1), "has no role"),
    (told(f"{WORDS}intermediate_size", 64), r"blocks.0.up.weight. has the shape \[160, 48\]"),
    (told(f"{WORDS}eos_token_id", 7), "text_config.eos_token_id is 7; .* has the id 1013"),
    (gone("preprocessor_config.json"), "preprocessor_config.json is missing"),
    (told(f"{IMAGES}image_mean"), "preprocessor_config.json has no image_mean"),
    (told(f"{IMAGES}resample", 1), "resample is 1; supported: 2, 3"),
    (
        told(f"{IMAGES}size", 40),
        "size is 40; 64 is needed, which config.json says in vision_config.image_size",
    ),
    (told(f"{IMAGES}do_center_crop", False), "size .* uncropped"),
    (told(f"{IMAGES}do_normalize", False), "do_normalize is false"),
    (told(f"{IMAGES}rescale_factor", 1), "rescale_factor is 1; 1/255 is needed"),
    (both(*(told(key, 5_000) for key in SIDES)), "size cannot be 5000"),  # which the service does not serve
    (gone("vocab.json"), "vocab.json is missing"),
    (gone("merges.txt"), "merges.txt is missing"),
    (holds("merges.txt", "#version: 0.2\n"), "merges.txt has no merges"),
    (holds("merges.txt", "c a t\n"), "not CLIP's vocabulary"),
    (told(f"{TOKENS}pad_token", "[PAD]"), "pad_token .* no token '\\[PAD\\]'"),
    (told(f"{TOKENS}padding_side", "left"), "padding_side .* left"),
    (told(f"{TOKENS}model_max_length", 1), "context_length cannot be 1"),
    (told(f"{TOKENS}tokenizer_class", "GPT2Tokenizer"), "tokenizer.json is missing"),
    (told(f"{TOKENS}tokenizer_class", "BertTokenizer"), "vocab.txt is missing, and so is tokenizer.json"),
    (
        both(told(f"{TOKENS}tokenizer_class", "BertTokenizer"), holds("vocab.txt", "[PAD]\n[CLS]")),
        "vocab.txt has no token",
    ),
    (told(f"{TOKENS}tokenizer_class", "SiglipTokenizer"), "spiece.model is missing"),
    (told(f"{VOCABULARY}more", 1014), "the id 1014, and the model only 1,014 tokens"),
    (another_tokenizer, "tokenizer.json ends no text with the eos_token of"),
    (both(gone(WEIGHTS), holds("pytorch_model.bin", "")), "pytorch_model.bin is no file that PyTorch 1.6"),
    (gone(WEIGHTS), "has no weights: model.safetensors or pytorch_model.bin is missing"),
    (cut(WEIGHTS), "model.safetensors .* cut short"),
    (tensors(lambda arrays: arrays.pop("visual_projection.weight")), "no tensor 'visual_projection.weight'"),
    (tensors(lambda arrays: arrays.update(adapter=np.zeros(3))), "'adapter' has no role"),
    (tensors(lambda arrays: arrays.update(logit_scale=np.float32(99))), "logit_scale.* is 99"),
    (shards(gone(SHARD.format(2))), "index.json names model-00002-of-00002.safetensors"),
    (shards(told(f"{INDEX}ghost", SHARD.format(1))), "ghost"),
    (shards(told(f"{INDEX}ghost", ["a", "b"])), r'weight_map.ghost is \["a", "b"\]; a string is needed'),
    (shards(told(f"{INDEX}ghost", "../secret.safetensors")), "secret"),
    (modules([{"type": "models.Dense", "path": "1_Dense"}]), "has a module Dense, and only a CLIP"),
    (modules([{"type": "models.CLIPModel", "path": "../other"}]), "is no folder in this one"),
]
OF_SIGLIP: list[tuple[Change, str]] = [
    (told(f"{VISION}vision_use_head", False), "vision_use_head is false"),
    (told(f"{WORDS}projection_size", 32), "projection_size is 32; .* is 64"),
    (told(f"{IMAGES}size", {"height": 50, "width": 60}), "size .* square"),
    (told(f"{TOKENS}model_max_length", 32), "model_max_length is 32; .* 64 tokens, padding included"),
    (cut("spiece.model"), "spiece.model is not a tokenizer of SigLIP"),
]
OF_OPEN_CLIP: list[tuple[Change, str]] = [
    (told(f"{OPEN}model_cfg"), "open_clip_config.json has no model_cfg"),
    (told(f"{OPEN}preprocess_cfg"), "has no preprocess_cfg.mean"),
    (told(f"{OPEN}preprocess_cfg.interpolation", "random"), "interpolation .* supported"),
    (told(f"{OPEN}preprocess_cfg.size", 32), "preprocess_cfg.size is 32; .* is 64"),
    (told(f"{OPEN}model_cfg.multimodal_cfg", {"layers": 2}), "multimodal_cfg"),
    (told(f"{OPEN_VISION}attentional_pool", True), "vision_cfg.attentional_pool is true"),
    (told(f"{OPEN_VISION}layers", [3, 4, 6]), "no ResNet: it needs four stages"),
    (told(f"{OPEN_TEXT}hf_model_name", "roberta-base"), "text_cfg.hf_model_name is .roberta-base"),
    (told(f"{OPEN_TEXT}embed_cls", True), "text_cfg.embed_cls"),
    (told(f"{OPEN_TEXT}proj_type", "none"), "proj_type"),
    (told(f"{OPEN_TEXT}pool_type", "first"), "pool_type"),
    (told(f"{OPEN_TEXT}act_kwargs", {"approximate": "tanh"}), "act_kwargs is .*quick_gelu has none"),
    (told(f"{OPEN_TEXT}vocab_size", 50000), "vocab_size is 50000"),
    (told(f"{OPEN_TEXT}hf_tokenizer_name", "bert-base"), "tokenizer_config.json is missing"),
    (told(f"{OPEN_TEXT}tokenizer_kwargs", {"strip_sep_token": True}), "strip_sep_token"),
    (gone("open_clip_model.safetensors"), "open_clip_model.safetensors or .* is missing"),
    (
        of_timm(timm_model_name="convnext_base"),
        "convnext_base.; of timm's models only SigLIP's and plain ViTs are built",
    ),
    (of_timm(image_size=256), "image_size is 256; vit_base_patch16_siglip_224 has 224"),
    (of_timm(timm_pool="token"), "timm_pool is .token.; supported by vit_base_patch16_siglip_224: avg, map"),
    (of_timm(timm_pool="rot_attn"), "timm_pool is .rot_attn.; supported by"),
    (of_timm(timm_model_name="vit_base_patch16_224", timm_proj="linear"), "vit_base_patch16_224: token, avg"),
    (of_timm(timm_pool=None, timm_proj=None), "timm_pool is null; supported by"),
    (of_timm(timm_model_name="vit_so400m_patch14_224"), "vit_so400m_patch14_224.; of timm's"),
    (told(OPEN_TEXT.removesuffix("."), BERT | {"hf_pooler_type": "mean_pooler"}), "hf_pooler_type"),
    (of_timm(timm_proj="mlp"), "timm_proj is .mlp."),
    (of_timm(), "embed_dim is 40, and vit_base_patch16_siglip_224 gives 768"),
]
FOLDERS: list[tuple[Change, list[tuple[Change, str]]]] = [
    (clip, OF_CLIP),
    (siglip, OF_SIGLIP),
    (open_clip, OF_OPEN_CLIP),
]


@pytest.mark.parametrize(
    ("write", "change", "said"),
    [pytest.param(write, *row, id=row[1][:40]) for write, rows in FOLDERS for row in rows],
)
def test_a_folder_is_refused(write: Change, change: Change, said: str, tmp_path: Path) -> None:
    both(write, change)(tmp_path)
    with pytest.raises(ModelsError, match=said) as refusal:
        read(tmp_path)
    assert str(tmp_path) in str(refusal.value)


HALVES: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
B32 = partial(UserFacts, architecture="ViT-B-32")
OF_FILES = [
    (".", UserFacts(mean=(0.1, 0.2, 0.3)), r"image_mean is .*0.4.*; \[0.1, 0.2, 0.3\] was given"),
    (".", UserFacts(activation="gelu"), "say what its architecture and activation are"),
    (".", B32(), "say what its architecture and activation are"),
    ("mine.safetensors", NOTHING, "give open_clip's name of it with --model"),
    (
        "mine.safetensors",
        UserFacts("ViT-B-33", **HALVES),
        "no architecture 'ViT-B-33' of open_clip .* ViT-B-32",
    ),
    ("mine.safetensors", B32(), "give --mean and --std"),
    ("mine.safetensors", B32(**HALVES, activation="gelu_tanh"), "cannot be gelu_tanh"),
    ("mine.safetensors", B32(**HALVES), "mine.safetensors has no tensor 'visual.conv1.weight'"),
    ("mine.zip", B32(**HALVES), "neither a folder nor a file of weights"),
    ("absent.safetensors", B32(**HALVES), "neither a folder nor a file of weights"),
]


@pytest.mark.parametrize(("name", "by_user", "said"), OF_FILES)
def test_what_the_user_says_must_be_needed_and_enough(
    name: str, by_user: UserFacts, said: str, tmp_path: Path
) -> None:
    clip(tmp_path)
    for file in ("mine.safetensors", "mine.zip"):
        write_safetensors(tmp_path / file, {"logit_scale": np.ones(1, np.float32)})
    with pytest.raises(ModelsError, match=said):
        read(tmp_path / name, by_user)
