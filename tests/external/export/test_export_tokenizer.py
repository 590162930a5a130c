"""Models whose tokenizer is one of transformers': exported with equal ids, or refused with the reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tokenizers
from tokenizers import normalizers, pre_tokenizers, processors, trainers

from clipserve.clip.artifact import read_manifest
from clipserve.clip.reference import REFERENCE_TEXTS
from clipserve.clip.tokenizer import load_tokenizer
from clipserve_models.errors import ModelsError
from tests.external.export.test_export import TINY_SIGLIP, add_model, make

CAPTIONS = ("a photo of a cat", "two dogs playing in the snow", "na\u00efve caf\u00e9 \u732b", "0123456789")


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


def add_siglip2(folder: Path, name: str, tokenizer: Path) -> None:
    """Tell open_clip of a tiny SigLIP2 whose tokenizer is in the folder `tokenizer`."""
    text: dict[str, Any] = {
        **cast(dict[str, Any], TINY_SIGLIP["text_cfg"]),
        "vocab_size": 400,
        "hf_tokenizer_name": str(tokenizer),
    }
    add_model(folder, name, {**TINY_SIGLIP, "text_cfg": text})


@pytest.fixture(scope="module")
def siglip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny one, as an artifact."""
    folder = tmp_path_factory.mktemp("siglip2")
    add_siglip2(folder, "tiny-siglip2", write_gemma_tokenizer(folder / "tokenizer"))
    make("tiny-siglip2", folder / "out")
    return folder / "out"


def test_a_sigmoid_model_has_a_bias_and_texts_of_one_length(siglip2: Path) -> None:
    from clipserve_models.verify import Graph

    manifest = read_manifest(siglip2)
    assert (manifest.scoring.function, manifest.scoring.logit_bias) == ("sigmoid", -10.0)
    assert (manifest.text.padding, manifest.text.context_length) == ("fixed", 64)
    tokenizer = load_tokenizer(siglip2, manifest.text)
    token_ids, lengths = tokenizer.pad(tokenizer.encode(REFERENCE_TEXTS), 64)
    # It pools at the last position: the lengths are an input and change nothing.
    graph = Graph(siglip2 / "text.onnx")
    one, other = (graph.run({"token_ids": token_ids, "lengths": n}) for n in (lengths, lengths - 1))
    np.testing.assert_array_equal(one, other)


def test_a_model_with_a_tokenizer_of_transformers_is_exported_with_equal_ids(siglip2: Path) -> None:
    import open_clip

    from tests.golden.make_tokens import hurting_strings

    manifest = read_manifest(siglip2)
    assert (manifest.text.cleaning, manifest.text.padding) == ("canonicalize", "fixed")
    assert (manifest.text.pad_id, manifest.text.eot_id) == (0, 1)

    original = open_clip.get_tokenizer("tiny-siglip2")
    assert type(original).__name__ == "HFTokenizer"
    tokenizer = load_tokenizer(siglip2, manifest.text)
    texts = [*CAPTIONS, "", "A  Photo, of: a CAT!", "cat " * 100, *hurting_strings(2_000, seed=20261125)]
    ids, _ = tokenizer.pad(tokenizer.encode(texts, truncate=True), manifest.text.context_length)
    for text, own, expected in zip(texts, ids, original(texts).numpy(), strict=True):
        np.testing.assert_array_equal(own, expected, err_msg=ascii(text))


def test_a_missing_package_is_not_blamed_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_siglip2(tmp_path, "tiny-lacking", write_gemma_tokenizer(tmp_path / "tokenizer"))
    monkeypatch.setitem(
        sys.modules, "transformers", None
    )  # what Python imports of a package that is not there
    with pytest.raises(ModelsError, match="transformers is not installed: pip install") as refusal:
        make("tiny-lacking", tmp_path / "out")
    assert "hub" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_the_hub_does_not_give_is_told_with_what_to_set(tmp_path: Path) -> None:
    add_siglip2(tmp_path, "tiny-absent", tmp_path / "absent")
    with pytest.raises(ModelsError, match=r"could not be loaded from the model hub(.|\n)*HF_HOME") as refusal:
        make("tiny-absent", tmp_path / "out")
    assert "not installed" not in str(refusal.value)


def test_a_text_encoder_of_transformers_that_the_hub_does_not_give_is_told_so(tmp_path: Path) -> None:
    text = {"hf_model_name": str(tmp_path / "absent"), "hf_tokenizer_name": str(tmp_path / "absent")}
    add_model(tmp_path, "tiny-none", {**TINY_SIGLIP, "text_cfg": text})
    with pytest.raises(
        ModelsError, match=r"configuration of tiny-none's text encoder could not be loaded(.|\n)*HF_HOME"
    ):
        make("tiny-none", tmp_path / "out")
