"""The families of models that are exported: one of each, of open_clip's configuration but for the number of layers.

What comes from a hub only is small, and of the same kind: tokenizers, and the configurations of transformers.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.external.export.test_export_tokenizer import write_gemma_tokenizer
from tests.models.architectures import shorten

VOCABULARY = 400
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


def add_family(folder: Path, family: str) -> str:
    """Tell open_clip of a model of the family, with few layers; its files are in `folder`.

    Returns:
        its name.
    """
    model, of_hub = FAMILIES[family]
    (folder / "hub").mkdir()
    return shorten(folder, model, of_hub(folder / "hub") if of_hub else None)
