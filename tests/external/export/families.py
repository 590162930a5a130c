"""The families of models that are exported: one of each, of open_clip's configuration but for the number of layers.

What comes from a hub only is small, and of the same kind: tokenizers, and the configurations of transformers.
"""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import normalizers, pre_tokenizers, processors, trainers

VOCABULARY = 400
BLOCKS = 2
CAPTIONS = ("a photo of a cat", "two dogs playing in the snow", "na\u00efve caf\u00e9 \u732b", "0123456789")
_WORDS = ("photo", "cat", "dog", "snow", "playing")
_LETTERS = [*string.ascii_letters, *string.digits, *string.punctuation, *"\u00ef\u00e9\u732b"]
_SIZES = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "vocab_size": VOCABULARY}


def pieces() -> list[tuple[str, float]]:
    """A vocabulary of SentencePiece's unigrams, with the logarithms of their probabilities."""
    return [
        ("\u2581", -3.0),
        *((f"\u2581{word}", -1.0) for word in _WORDS),
        *((each, -4.0) for each in _LETTERS),
    ]


def t5_tokenizer(folder: Path) -> None:
    """With fewer than `VOCABULARY` tokens."""
    from transformers import T5Tokenizer

    special = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    T5Tokenizer(vocab=[*special, *pieces()], extra_ids=0).save_pretrained(folder)


def xlm_r_tokenizer(folder: Path) -> int:
    """Returns: its number of tokens."""
    from transformers import XLMRobertaTokenizer

    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    vocabulary = [*special, *pieces(), ("<mask>", 0.0)]
    XLMRobertaTokenizer(vocab=vocabulary).save_pretrained(folder)
    return len(vocabulary)


def _nllb_tokenizer(folder: Path) -> None:
    """Its 202 languages are tokens too."""
    from transformers import NllbTokenizer

    tokens = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *_LETTERS, "ca", "cat", "\u2581cat"]
    merges = [("c", "a"), ("ca", "t"), ("\u2581", "cat")]
    NllbTokenizer(vocab={token: row for row, token in enumerate(tokens)}, merges=merges).save_pretrained(
        folder
    )


def write_gemma_tokenizer(folder: Path) -> Path:
    """A small tokenizer of SigLIP2's kind, as its folder on the hub has it.

    It is a BPE over whole texts, spaces written as U+2581, with a token for each byte that no other token holds; an
    end-of-text token, no start, padding behind.
    """
    encoder = tokenizers.Tokenizer(
        tokenizers.models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    encoder.normalizer = normalizers.Replace(" ", "\u2581")
    encoder.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    each_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=special + each_byte, show_progress=False)
    encoder.train_from_iterator(CAPTIONS, trainer)
    encoder.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    folder.mkdir()
    encoder.save(str(folder / "tokenizer.json"))
    names = {f"{token.strip('<>')}_token": token for token in special}
    rules = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GemmaTokenizer", **rules, **names})
    )
    return folder


def xlm_r(folder: Path) -> dict[str, Any]:
    """Options of open_clip for a text encoder of this kind, whose files are then in `folder`."""
    xlm_r_tokenizer(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return _of_transformers(
        folder, {"model_type": "xlm-roberta", "max_position_embeddings": 82, "type_vocab_size": 1, **sizes}
    )


def _nllb(folder: Path) -> dict[str, Any]:
    _nllb_tokenizer(folder)
    both = {"layers": 2, "attention_heads": 2, "ffn_dim": 64}
    sizes = {f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in both.items()}
    return _of_transformers(
        folder, {"model_type": "m2m_100", "d_model": 32, "scale_embedding": True, **sizes}
    )


def _of_transformers(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    (folder / "config.json").write_text(json.dumps(_SIZES | config))
    return {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}


def _siglip(folder: Path) -> dict[str, Any]:
    t5_tokenizer(folder)
    return {"hf_tokenizer_name": str(folder), "vocab_size": VOCABULARY}


def _siglip2(folder: Path) -> dict[str, Any]:
    return {"hf_tokenizer_name": str(write_gemma_tokenizer(folder / "gemma")), "vocab_size": VOCABULARY}


# What a family is called -> a model of it, and what its text configuration has in place of what a hub has.
FAMILIES: dict[str, tuple[str, Callable[[Path], dict[str, Any]] | None]] = {
    "ViT": ("ViT-B-32", None),
    "ResNet": ("RN50", None),
    "ConvNeXt": ("convnext_base", None),
    "EVA02": ("EVA02-B-16", None),
    "SigLIP": ("ViT-B-16-SigLIP", _siglip),
    "SigLIP2": ("ViT-B-16-SigLIP2", _siglip2),
    "MobileCLIP2": ("MobileCLIP2-S0", None),
    "ViTamin": ("ViTamin-S", None),
    "PE-Core": ("PE-Core-B-16", None),
    "CoCa": ("coca_ViT-B-32", None),
    "XLM-R": ("xlm-roberta-base-ViT-B-32", xlm_r),
    "NLLB": ("nllb-clip-base", _nllb),
}


def shorten(folder: Path, name: str, text: dict[str, Any]) -> str:
    """Tell open_clip of a model with fewer layers: the same modules, built in seconds.

    A ViT has two blocks in each tower, a ResNet one block in each stage, timm's FastViT too. `text` overrides its
    text configuration. Returns: its name.
    """
    import open_clip

    config = open_clip.get_model_config(name)
    config["text_cfg"] |= text | {"layers": BLOCKS}
    config.get("multimodal_cfg", {})["layers"] = BLOCKS
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_name"] = _short_of_timm(vision["timm_model_name"])
    else:
        vision["layers"] = [1] * len(vision["layers"]) if isinstance(vision["layers"], list) else BLOCKS
    short = f"{name}-short"
    (folder / f"{short}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{short}.json")
    return short


def _short_of_timm(name: str) -> str:
    """Tell timm of a model of its own with fewer blocks."""
    import timm
    import torch

    original = timm.models.model_entrypoint(name)
    # The arguments of a model of timm are defaults, which the caller may override.
    fewer: dict[str, Any] = {"depth": BLOCKS}
    if name.startswith("fastvit"):
        with torch.device("meta"):  # to count needs no weights
            fewer = {"layers": (1,) * len(timm.create_model(name, pretrained=False).stages)}
    elif name.startswith("convnext"):
        fewer = {"depths": (1, 1, 1, 1)}

    def make(pretrained: bool = False, **options: Any) -> Any:
        return original(pretrained, **fewer, **options)

    make.__name__, make.__module__ = f"{name}_short", original.__module__
    if not timm.is_model(make.__name__):
        timm.models.register_model(make)
        sys.modules[make.__module__].__dict__[make.__name__] = make
    return make.__name__


def add_family(folder: Path, family: str) -> str:
    """Tell open_clip of a model of the family, with few layers; its files are in `folder`.

    Returns:
        its name.
    """
    model, of_hub = FAMILIES[family]
    (folder / "hub").mkdir()
    return shorten(folder, model, of_hub(folder / "hub") if of_hub else {})
