"""Folders of transformers and of open_clip become one record; a file of weights needs to be told the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipserve.clip.manifest import ImageSpec
from clipserve.clip.tokenizer import Tokenizer
from clipserve_models.architecture import Architecture
from clipserve_models.layouts import read
from clipserve_models.model_files import Checkpoint, UserFacts
from tests.models.layouts.changes import Change, both, edit, gone, told, write_json
from tests.models.layouts.folders import (
    END,
    OPEN_CLIP,
    SCALE,
    open_clip_folder,
    transformers_folder,
    write_safetensors,
)
from tests.models.layouts.written import (
    OPEN_WEIGHTS,
    WEIGHTS,
    clip,
    modules,
    open_clip,
    pickled,
    sharded,
    siglip,
)
from tests.models.torch_files import write_torch
from tests.models.towers import CLIP, SIGLIP, random_tensors, vit, words

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
CONFIG, TOKENS, OPEN = "config.json ", "tokenizer_config.json ", "open_clip_config.json "


def check_values(checkpoint: Checkpoint, architecture: Architecture, precision: float = 0.0) -> None:
    """The record is `architecture`, and every role has the values that were saved for it."""
    assert checkpoint.architecture == architecture
    saved = random_tensors(architecture)
    assert checkpoint.tensors.keys() == saved.keys()
    for role, tensor in saved.items():
        values = checkpoint.tensors[role].read()
        np.testing.assert_allclose(values, tensor.read(), rtol=precision, atol=precision, err_msg=role)


def ids(checkpoint: Checkpoint, text: str) -> list[int]:
    return Tokenizer(checkpoint.text, checkpoint.tokenizer).encode([text])[0].ids


def names(checkpoint: Checkpoint) -> set[str]:
    return {path.name for path in checkpoint.files}


def test_clip_of_transformers(tmp_path: Path) -> None:
    clip(tmp_path)
    found = read(tmp_path)
    check_values(found, CLIP)
    assert found.image == ImageSpec(size=32, resize="shortest", interpolation="bicubic")
    assert found.mean == found.std == (0.5, 0.5, 0.5)
    assert (found.text.context_length, found.text.padding, found.text.cleaning) == (77, "trim", "none")
    assert (found.text.pad_id, found.text.eot_id) == (599, 599)
    assert found.scoring.function == "softmax"
    assert found.scoring.logit_scale == pytest.approx(np.exp(SCALE))
    facts = {"config.json", "preprocessor_config.json", "tokenizer_config.json"}
    assert names(found) == facts | {WEIGHTS, "vocab.json", "merges.txt"}
    a, cat = found.tokenizer.token_to_id("a</w>"), found.tokenizer.token_to_id("cat</w>")
    assert ids(found, "A  cat") == [598, a, cat, 599]
    assert ids(found, "a<|endoftext|>") == [598, a, 599, 599]


def test_siglip_of_transformers(tmp_path: Path) -> None:
    siglip(tmp_path)
    found = read(tmp_path)
    check_values(found, SIGLIP)
    assert found.image == ImageSpec(size=50, resize="squash", interpolation="bicubic")
    assert (found.text.padding, found.text.pad_id, found.text.eot_id) == ("fixed", 1, 1)
    assert (found.scoring.function, found.scoring.logit_bias) == ("sigmoid", -3.0)
    # Its cleaning: lower case, no punctuation, single spaces; x and y are unknown.
    assert ids(found, " CAT,  \x1cdog! ") == [3, 4, 5, 1]
    assert ids(found, "dogs xy") == [5, 2, 3, 2, 1]
    assert ids(found, "") == [1]


def test_open_clip(tmp_path: Path) -> None:
    open_clip(tmp_path)
    found = read(tmp_path)
    check_values(found, OPEN_CLIP)
    assert (found.text.pad_id, found.text.eot_id, found.text.cleaning) == (0, 49407, "lower")
    assert ids(found, "A &amp;amp; cat") == [49406, 320, 261, 2368, 49407]


def halved(folder: Path) -> None:
    write_safetensors(folder / WEIGHTS, transformers_folder(folder, CLIP), "F16")


def with_positions(folder: Path) -> None:
    """Tensors that are computed need no role."""
    computed = {"text_model.embeddings.position_ids": np.arange(77, dtype=np.float32)[None]}
    write_safetensors(folder / WEIGHTS, transformers_folder(folder, CLIP) | computed)


def of_2022(folder: Path) -> None:
    """`text_config_dict` replaces text_config, and the end of a text is said to be 2."""
    clip(folder)
    real = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder, f"{CONFIG}text_config", {"hidden_size": 999, "num_hidden_layers": 7})
    edit(folder, f"{CONFIG}text_config_dict", real | {"eos_token_id": 2})
    edit(folder, "preprocessor_config.json size", 32)


def of_defaults(folder: Path) -> None:
    """What a configuration omits is the default of its class."""
    clip(folder)
    for key in ("hidden_act", "layer_norm_eps", "max_position_embeddings"):
        edit(folder, f"{CONFIG}text_config.{key}")


def pickled_by_open_clip(folder: Path) -> None:
    write_torch(folder / "open_clip_pytorch_model.bin", open_clip_folder(folder, OPEN_CLIP))
    gone(OPEN_WEIGHTS)(folder)


@pytest.mark.parametrize(
    ("write", "architecture", "precision"),
    [
        pytest.param(halved, CLIP, 1e-3, id="fp16"),
        pytest.param(sharded, CLIP, 1e-2, id="shards of bf16"),
        pytest.param(with_positions, CLIP, 0, id="computed tensors"),
        pytest.param(of_2022, CLIP, 0, id="of 2022"),
        pytest.param(of_defaults, CLIP, 0, id="defaults"),
        pytest.param(both(clip, told(f"{CONFIG}model_type", "metaclip_2")), CLIP, 0, id="MetaCLIP 2"),
        pytest.param(both(clip, told(f"{TOKENS}model_max_length", 10**30)), CLIP, 0, id="longer texts"),
        pytest.param(modules, CLIP, 0, id="sentence-transformers"),
        pytest.param(pickled, CLIP, 0, id="a pickle"),
        pytest.param(pickled_by_open_clip, OPEN_CLIP, 0, id="a pickle of open_clip"),
        pytest.param(both(clip, open_clip), OPEN_CLIP, 0, id="both layouts"),
        pytest.param(both(clip, open_clip, gone(OPEN_WEIGHTS)), CLIP, 0, id="both, and weights of one"),
    ],
)
def test_other_forms_of_the_same_model_are_the_same_record(
    write: Change, architecture: Architecture, precision: float, tmp_path: Path
) -> None:
    write(tmp_path)
    found = read(tmp_path)
    check_values(found, architecture, precision)
    assert found.text.context_length == 77
    weights = {path.name for path in tmp_path.rglob("*model*") if "config" not in path.name}
    assert names(found) & weights


@pytest.mark.parametrize("named", ["GemmaTokenizer", "Siglip2Tokenizer", "PreTrainedTokenizerFast"])
def test_siglip2_gets_lower_case_texts_whatever_class_its_tokenizer_names(named: str, tmp_path: Path) -> None:
    siglip(tmp_path)
    read(tmp_path).tokenizer.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path, "tokenizer.json normalizer", {"type": "Prepend", "prepend": "\u2581"})
    edit(tmp_path, f"{TOKENS}tokenizer_class", named)
    edit(tmp_path, f"{TOKENS}do_lower_case", False)
    found = read(tmp_path)
    assert found.text.cleaning == "lowercase"
    assert ids(found, "CAT") == ids(found, "cat") == [4, 1]
    assert ids(found, "a.") != ids(found, "a"), "punctuation stays"


def test_transformers_5_keeps_the_preprocessing_in_processor_config(tmp_path: Path) -> None:
    clip(tmp_path)
    images = json.loads((tmp_path / "preprocessor_config.json").read_text()) | {"resample": 2}
    gone("preprocessor_config.json")(tmp_path)
    write_json(tmp_path / "processor_config.json", {"image_processor": images})
    found = read(tmp_path)
    assert found.image.interpolation == "bilinear"
    assert "processor_config.json" in names(found)


def test_a_tokenizer_json_gives_the_ids_of_its_vocabulary_and_merges(tmp_path: Path) -> None:
    clip(tmp_path)
    of_two_files = read(tmp_path)
    of_two_files.tokenizer.save(str(tmp_path / "tokenizer.json"))
    gone("vocab.json", "merges.txt")(tmp_path)
    of_one = read(tmp_path)
    assert "tokenizer.json" in names(of_one)
    for text in ("a cat", "A dog's <|endoftext|> do", "", "\u00e9 \U0001f408", "  ca t"):
        assert ids(of_one, text) == ids(of_two_files, text), text


def test_a_tokenizer_json_of_another_class_is_taken_as_it_stands_but_for_the_ends_that_are_told(
    tmp_path: Path,
) -> None:
    clip(tmp_path)
    read(tmp_path).tokenizer.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path, f"{TOKENS}tokenizer_class", "GemmaTokenizer")
    edit(tmp_path, "tokenizer.json normalizer", None)
    assert ids(read(tmp_path), "CAT") != ids(read(tmp_path), "cat")
    edit(tmp_path, "tokenizer.json post_processor", None)
    edit(tmp_path, f"{TOKENS}add_bos_token", False)
    edit(tmp_path, f"{TOKENS}add_eos_token", True)
    found = read(tmp_path)
    assert ids(found, "cat") == [found.tokenizer.token_to_id("cat</w>"), 599]


def test_special_tokens_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    clip(tmp_path)
    for key in ("eos_token", "pad_token"):
        edit(tmp_path, f"{TOKENS}{key}")
    special = {"eos_token": {"content": END}, "pad_token": "unused7"}
    write_json(tmp_path / "special_tokens_map.json", special)
    found = read(tmp_path)
    assert (found.text.eot_id, found.text.pad_id) == (599, found.tokenizer.token_to_id("unused7"))


@pytest.mark.parametrize("write", [clip, siglip])
def test_without_a_configuration_of_the_tokenizer_its_class_says_the_rest(
    write: Change, tmp_path: Path
) -> None:
    write(tmp_path)
    before = read(tmp_path)
    gone("tokenizer_config.json")(tmp_path)
    found = read(tmp_path)
    assert found.text == before.text
    assert ids(found, "A cat") == ids(before, "A cat")
    assert "tokenizer_config.json" not in names(found)


def test_open_clips_options_reach_the_record(tmp_path: Path) -> None:
    heads = replace(vit(OPEN_CLIP), heads=2, activation="gelu", epsilon=1e-6, pre_norm=False)
    text = replace(words(OPEN_CLIP), activation="gelu_tanh", causal=False)
    other = replace(OPEN_CLIP, image=heads, text=text)
    open_clip_folder(tmp_path, other)
    vision, words_of = f"{OPEN}model_cfg.vision_cfg", f"{OPEN}model_cfg.text_cfg"
    edit(tmp_path, f"{vision}.no_ln_pre", True)
    edit(tmp_path, f"{vision}.norm_kwargs", {"eps": 1e-6})
    edit(tmp_path, f"{vision}.patch_dropout", 0.5)  # in training only
    edit(tmp_path, f"{words_of}.act_kwargs", {"approximate": "tanh"})
    edit(tmp_path, f"{words_of}.no_causal_mask", True)
    edit(tmp_path, f"{words_of}.tokenizer_kwargs", {"clean": "canonicalize"})
    edit(tmp_path, f"{OPEN}preprocess_cfg.resize_mode", "squash")
    edit(tmp_path, f"{OPEN}preprocess_cfg.interpolation", "bilinear")
    found = read(tmp_path)
    check_values(found, other)
    assert found.image == ImageSpec(size=32, resize="squash", interpolation="bilinear")
    assert (found.text.cleaning, found.text.padding) == ("canonicalize", "fixed")


def test_mean_and_deviation_are_told_only_where_the_files_do_not_say(tmp_path: Path) -> None:
    both(clip, *(told(f"preprocessor_config.json image_{each}") for each in ("mean", "std")))(tmp_path)
    found = read(tmp_path, UserFacts(mean=MEAN, std=STD))
    assert (found.mean, found.std) == (MEAN, STD)


def test_a_file_of_weights_is_read_with_the_name_of_its_architecture(tmp_path: Path) -> None:
    small = replace(vit(CLIP), width=384, heads=6, layers=12, mlp=1536, size=224, patch=32, activation="gelu")
    text = replace(OPEN_CLIP.text, width=384, heads=6, layers=12, mlp=1536, activation="gelu")
    architecture, by_user = Architecture(small, text, 384), UserFacts("ViT-S-32", mean=MEAN, std=STD)
    open_clip_folder(tmp_path, architecture)
    file = (tmp_path / OPEN_WEIGHTS).rename(tmp_path / "mine.safetensors")
    found = read(file, by_user)
    assert found.architecture == architecture
    assert (found.mean, found.std, found.files) == (MEAN, STD, (file,))
    quick = read(file, replace(by_user, activation="quick_gelu")).architecture
    assert (vit(quick).activation, quick.text.activation) == ("quick_gelu", "quick_gelu")
