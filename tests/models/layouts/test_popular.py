"""Repositories that many people load, by name: which are built, which are traced, and why others are refused.

Each is written as its owner lays it out, with its own configuration and tokenizer. Its file of weights is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipserve_models.errors import ModelsError, NotBuilt
from clipserve_models.layouts import read
from clipserve_models.layouts.assigning import Assignment
from clipserve_models.layouts.open_clip_folder import ARCHITECTURES
from tests.models.layouts.changes import edit, write_json
from tests.models.layouts.saved import stored
from tests.models.layouts.written import AnyTensors
from tests.support.process import ROOT

Write = Callable[[Path], None]
MEAN_STD = {"mean": [0.5] * 3, "std": [0.5] * 3}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
CROPPED = {"resample": 3, "do_center_crop": True, **HALVES}
TINY: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4}
TINY_VISION = TINY | {"num_hidden_layers": 10, "patch_size": 16}
L14: dict[str, Any] = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
L14 |= {"num_attention_heads": 16, "patch_size": 14}
H14 = L14 | {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
SO400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
TEXT_L = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}


def tokenizer(folder: Path, name: str) -> None:
    """The files of a stored model's tokenizer, its first and last tokens those of OpenAI's vocabulary."""
    for file, text in stored()[name].files.items():
        if file.startswith(("vocab", "merges", "spiece", "tokenizer")):
            (folder / file).write_bytes(text.encode("latin-1"))
    if (folder / "vocab.json").is_file():
        for token, number in (("<|startoftext|>", 49406), ("<|endoftext|>", 49407)):
            edit(folder, f"vocab.json {token}", number)


def transformers(
    config: dict[str, Any],
    images: dict[str, Any] | None = None,
    *,
    weights: str = "model.safetensors",
    told: dict[str, Any] | None = None,
    kind: str = "clip",
    tokens: str = "CLIP",
) -> Write:
    """`images`: preprocessor_config.json; `told`: tokenizer_config.json, {}: that of `tokens`, None: none."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", {"model_type": kind, **config})
        write_json(folder / "preprocessor_config.json", images or SIZES)
        tokenizer(folder, tokens)
        if told is None:
            (folder / "tokenizer_config.json").unlink(missing_ok=True)
        elif told:
            write_json(folder / "tokenizer_config.json", told)
        (folder / weights).touch()

    return write


def open_clip(config: dict[str, Any], weights: str = "open_clip_model.safetensors") -> Write:
    def write(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": MEAN_STD})
        (folder / weights).touch()

    return write


def named(name: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture."""
    config: dict[str, Any] = json.loads(ARCHITECTURES.read_text("utf-8"))[name]["model_cfg"]
    return config


def of_timm(model: str, dim: int, text: dict[str, Any] | None = None, **vision: Any) -> Write:
    """open_clip's, with an image encoder of timm."""
    vision |= {"timm_model_name": model}
    return open_clip({"embed_dim": dim, "vision_cfg": vision, "text_cfg": text or {}})


def siglip(size: int, patch: int, words: int, tokens: str, **widths: Any) -> Write:
    vision = {"image_size": size, "patch_size": patch, **widths}
    config = {"text_config": {"vocab_size": words, **widths}, "vision_config": vision}
    images = {"size": {"height": size, "width": size}, "resample": 3, **HALVES}
    return transformers(config, images, told={}, kind="siglip", tokens=tokens)


def clip(
    dim: int,
    text: dict[str, Any],
    vision: dict[str, Any],
    auto_map: dict[str, str] | None = None,
    **others: Any,
) -> Write:
    config = {"projection_dim": dim, "text_config": text, "vision_config": vision, "auto_map": auto_map}
    return transformers(config, **others)


def sentence_transformers(folder: Path) -> None:
    images = {"size": 224, "crop_size": 224, **CROPPED}
    clip(512, {}, {}, images=images, weights="pytorch_model.bin", told={})(folder / "0_CLIPModel")
    kind = "sentence_transformers.models.CLIPModel"
    write_json(folder / "modules.json", [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": kind}])


def marqo(folder: Path) -> None:
    """A fine-tune of open_clip's SigLIP, whose tokenizer is beside it."""
    open_clip(named("ViT-B-16-SigLIP"))(folder)
    tokenizer(folder, "SigLIP2")
    edit(folder, "tokenizer_config.json tokenizer_class", "T5Tokenizer")


def biomedclip(folder: Path) -> None:
    vision = {"timm_pool": "", "timm_proj": "linear", "image_size": 224, "timm_model_pretrained": False}
    of_timm("vit_base_patch16_224", 512, BERT, **vision)(folder)
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    tokenizer(folder, "open_clip, BiomedCLIP")


SIZES = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, **CROPPED}
OF_336 = {"size": 336, "crop_size": 336, **CROPPED}
BIOMED = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
BERT = {"hf_model_name": BIOMED, "hf_tokenizer_name": BIOMED, "hf_proj_type": "mlp", "context_length": 256}
BERT |= {"hf_pooler_type": "cls_last_hidden_state_pooler"}
LONG = TEXT_L | {"max_position_embeddings": 248}
MANY = {**L14, "vocab_size": 901_629, "eos_token_id": 2}
POPULAR: dict[str, Write] = {
    "openai/clip-vit-base-patch32": clip(512, {}, {}, told={}),
    "openai/clip-vit-large-patch14-336": clip(768, TEXT_L, L14 | {"image_size": 336}, images=OF_336, told={}),
    "sentence-transformers/clip-ViT-B-32": sentence_transformers,
    "patrickjohncyh/fashion-clip": clip(512, {}, {}, told={}),
    "wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M": clip(512, TINY | {"num_hidden_layers": 3}, TINY_VISION),
    "google/siglip-base-patch16-224": siglip(224, 16, 32_000, "SigLIP"),
    "google/medsiglip-448": siglip(448, 14, 32_000, "SigLIP", **SO400M),
    "google/siglip2-base-patch16-224": siglip(224, 16, 256_000, "SigLIP2"),
    "google/siglip2-base-patch16-naflex": clip(512, {}, {}, told={}, kind="siglip2"),
    "OFA-Sys/chinese-clip-vit-base-patch16": clip(
        512,
        {"vocab_size": 21_128},
        {"patch_size": 16},
        weights="pytorch_model.bin",
        kind="chinese_clip",
        tokens="Chinese-CLIP",
        told={"tokenizer_class": "BertTokenizer", "model_max_length": 52},
    ),
    "facebook/metaclip-2-worldwide-huge-quickgelu": clip(
        1024, MANY, H14, told={}, kind="metaclip_2", tokens="MetaCLIP 2"
    ),
    "zer0int/LongCLIP-GmP-ViT-L-14": clip(768, LONG, L14, told={"model_max_length": 248}),
    "BAAI/BGE-VL-base": clip(512, {}, {"patch_size": 16}, told={}, auto_map={"AutoModel": "m.CLIPModel"}),
    "Marqo/marqo-fashionSigLIP": marqo,
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": open_clip(named("ViT-B-32")),
    "imageomics/bioclip-2": open_clip(named("ViT-L-14")),
    "apple/DFN2B-CLIP-ViT-B-16": open_clip(named("ViT-B-16-quickgelu"), "open_clip_pytorch_model.bin"),
    "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224": biomedclip,
    "timm/PE-Core-B-16": of_timm("vit_pe_core_base_patch16_224", 1024),
    "timm/MobileCLIP2-B-OpenCLIP": open_clip(named("MobileCLIP2-B")),
    "timm/MobileCLIP2-L-14-OpenCLIP": open_clip(named("MobileCLIP2-L-14")),
    "timm/MobileCLIP2-S0-OpenCLIP": of_timm("fastvit_mci0", 512),
}


def answer(name: str, folder: Path) -> str:
    """What becomes of a repository."""
    POPULAR[name](folder)
    try:
        read(folder)
    except NotBuilt:
        return "traced, with PyTorch"
    except ModelsError as error:
        file, _, why = str(error).removeprefix(f"{folder}/").partition(": ")
        return f"refused: {file}: {why.split('. ')[0].rstrip('.')}"
    return "built"


def test_the_table_of_popular_repositories_says_what_becomes_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Assignment, "of_files", lambda files: AnyTensors(files[0], {}))
    rows = [f"| `{name}` | {answer(name, tmp_path / str(place))} |" for place, name in enumerate(POPULAR)]
    table = "\n".join(["| repository | |", "| --- | --- |", *rows])
    assert table in (ROOT / "docs/models.md").read_text("utf-8"), table
