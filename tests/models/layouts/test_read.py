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
from tests.models.layouts import folders
from tests.models.layouts.folders import (
    OPEN_CLIP,
    SCALE,
    edit,
    open_clip_folder,
    transformers_folder,
    without,
)
from tests.models.torch_files import write_torch
from tests.models.towers import CLIP, SIGLIP, random_tensors, vit, words

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def check_values(checkpoint: Checkpoint, architecture: Architecture, precision: float = 0.0) -> None:
    """The record is `architecture`, and every role has the values that were saved for it."""
    assert checkpoint.architecture == architecture
    saved = random_tensors(architecture)
    assert checkpoint.tensors.keys() == saved.keys()
    for role, tensor in saved.items():
        np.testing.assert_allclose(
            checkpoint.tensors[role].read(), tensor.read(), rtol=precision, atol=precision, err_msg=role
        )


def ids(checkpoint: Checkpoint, text: str) -> list[int]:
    return Tokenizer(checkpoint.text, checkpoint.tokenizer).encode([text])[0].ids


def test_clip_of_transformers(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    read_back = read(tmp_path)
    check_values(read_back, CLIP)
    assert read_back.image == ImageSpec(size=32, resize="shortest", interpolation="bicubic")
    assert read_back.mean == read_back.std == (0.5, 0.5, 0.5)
    assert (read_back.text.context_length, read_back.text.padding, read_back.text.cleaning) == (
        77,
        "trim",
        "none",
    )
    assert (read_back.text.pad_id, read_back.text.eot_id) == (599, 599)
    assert read_back.scoring.function == "softmax"
    assert read_back.scoring.logit_scale == pytest.approx(np.exp(SCALE))
    assert {path.name for path in read_back.files} == {
        *("config.json", "preprocessor_config.json", "model.safetensors"),
        *("tokenizer_config.json", "vocab.json", "merges.txt"),
    }
    a, cat = read_back.tokenizer.token_to_id("a</w>"), read_back.tokenizer.token_to_id("cat</w>")
    assert ids(read_back, "A  cat") == [598, a, cat, 599]
    assert ids(read_back, "a<|endoftext|>") == [598, a, 599, 599]


def test_siglip_of_transformers(tmp_path: Path) -> None:
    transformers_folder(tmp_path, SIGLIP, "siglip")
    read_back = read(tmp_path)
    check_values(read_back, SIGLIP)
    assert read_back.image == ImageSpec(size=50, resize="squash", interpolation="bicubic")
    assert (read_back.text.padding, read_back.text.pad_id, read_back.text.eot_id) == ("fixed", 1, 1)
    assert (read_back.scoring.function, read_back.scoring.logit_bias) == ("sigmoid", -3.0)
    # Its cleaning: lower case, no punctuation, single spaces; x and y are unknown.
    assert ids(read_back, " CAT,  \x1cdog! ") == [3, 4, 5, 1]
    assert ids(read_back, "dogs xy") == [5, 2, 3, 2, 1]
    assert ids(read_back, "") == [1]


@pytest.mark.parametrize("named", ["GemmaTokenizer", "Siglip2Tokenizer", "PreTrainedTokenizerFast"])
def test_siglip2_gets_lower_case_texts_whatever_class_its_tokenizer_names(named: str, tmp_path: Path) -> None:
    transformers_folder(tmp_path, SIGLIP, "siglip")
    read(tmp_path).tokenizer.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer.json", (["normalizer"], {"type": "Prepend", "prepend": "\u2581"}))
    told = {"tokenizer_class": named, "do_lower_case": False}
    edit(tmp_path / "tokenizer_config.json", *(([key], value) for key, value in told.items()))
    read_back = read(tmp_path)
    assert read_back.text.cleaning == "lowercase"
    assert ids(read_back, "CAT") == ids(read_back, "cat") == [4, 1]
    assert ids(read_back, "a.") != ids(read_back, "a"), "punctuation stays"


def test_open_clip(tmp_path: Path) -> None:
    open_clip_folder(tmp_path, OPEN_CLIP)
    read_back = read(tmp_path)
    check_values(read_back, OPEN_CLIP)
    assert (read_back.text.pad_id, read_back.text.eot_id, read_back.text.cleaning) == (0, 49407, "lower")
    assert ids(read_back, "A &amp;amp; cat") == [49406, 320, 261, 2368, 49407]


def test_half_precision_and_shards(tmp_path: Path) -> None:
    arrays = transformers_folder(tmp_path, CLIP)
    folders.write_safetensors(tmp_path / "model.safetensors", arrays, "F16")
    check_values(read(tmp_path), CLIP, precision=1e-3)
    without(tmp_path, "model.safetensors")
    folders.write_shards(tmp_path, arrays, "BF16")
    read_back = read(tmp_path)
    check_values(read_back, CLIP, precision=1e-2)
    assert len([path for path in read_back.files if path.name.startswith("model")]) == 3


def test_tensors_that_are_computed_need_no_role(tmp_path: Path) -> None:
    arrays = transformers_folder(tmp_path, CLIP)
    arrays["text_model.embeddings.position_ids"] = np.arange(77, dtype=np.float32)[None]
    folders.write_safetensors(tmp_path / "model.safetensors", arrays)
    check_values(read(tmp_path), CLIP)


def test_a_configuration_of_2022_replaces_text_config_and_says_eos_2(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    config = json.loads((tmp_path / "config.json").read_text())
    real = config["text_config"] | {"eos_token_id": 2}
    wrong = {"hidden_size": 999, "num_hidden_layers": 7}
    edit(tmp_path / "config.json", (["text_config"], wrong), (["text_config_dict"], real))
    edit(tmp_path / "preprocessor_config.json", (["size"], 32))
    check_values(read(tmp_path), CLIP)


def test_what_a_configuration_omits_is_the_default_of_its_class(tmp_path: Path) -> None:
    plain = replace(CLIP.text, activation="quick_gelu", epsilon=1e-5, context_length=77)
    transformers_folder(tmp_path, replace(CLIP, text=plain))
    omitted = ("hidden_act", "layer_norm_eps", "max_position_embeddings")
    edit(tmp_path / "config.json", *((["text_config", key], ...) for key in omitted))
    check_values(read(tmp_path), CLIP)


def test_metaclip_2_pools_at_the_id_that_its_configuration_says(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    edit(tmp_path / "config.json", (["model_type"], "metaclip_2"))
    check_values(read(tmp_path), CLIP)


def test_transformers_5_keeps_the_preprocessing_in_processor_config(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    told = json.loads((tmp_path / "preprocessor_config.json").read_text())
    without(tmp_path, "preprocessor_config.json")
    folders.write_json(tmp_path / "processor_config.json", {"image_processor": told | {"resample": 2}})
    read_back = read(tmp_path)
    assert read_back.image.interpolation == "bilinear"
    assert tmp_path / "processor_config.json" in read_back.files


def test_a_tokenizer_json_gives_the_ids_of_its_vocabulary_and_merges(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    texts = ["a cat", "A dog's <|endoftext|> do", "", "\u00e9 \U0001f408", "  ca t"]
    of_two_files = read(tmp_path)
    of_two_files.tokenizer.save(str(tmp_path / "tokenizer.json"))
    without(tmp_path, "vocab.json", "merges.txt")
    of_one = read(tmp_path)
    assert tmp_path / "tokenizer.json" in of_one.files
    for text in texts:
        assert ids(of_one, text) == ids(of_two_files, text), text


def test_a_tokenizer_json_of_another_class_is_taken_as_it_stands(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    read(tmp_path).tokenizer.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer_config.json", (["tokenizer_class"], "PreTrainedTokenizerFast"))
    edit(tmp_path / "tokenizer.json", (["normalizer"], None))
    assert ids(read(tmp_path), "CAT") != ids(read(tmp_path), "cat")


def test_a_configuration_may_ask_for_the_tokens_around_a_text(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    read(tmp_path).tokenizer.save(str(tmp_path / "tokenizer.json"))
    edit(tmp_path / "tokenizer.json", (["post_processor"], None))
    ends = {"add_bos_token": False, "add_eos_token": True, "tokenizer_class": "GemmaTokenizer"}
    edit(tmp_path / "tokenizer_config.json", *(([key], value) for key, value in ends.items()))
    read_back = read(tmp_path)
    assert ids(read_back, "cat") == [read_back.tokenizer.token_to_id("cat</w>"), 599]


def test_a_tokenizer_may_allow_longer_texts_than_the_model(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    edit(tmp_path / "tokenizer_config.json", (["model_max_length"], 10**30))
    assert read(tmp_path).text.context_length == 77


def test_special_tokens_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    edit(tmp_path / "tokenizer_config.json", *(([key], ...) for key in ("eos_token", "pad_token")))
    special = {"eos_token": {"content": folders.END}, "pad_token": "unused7"}
    folders.write_json(tmp_path / "special_tokens_map.json", special)
    read_back = read(tmp_path)
    assert read_back.text.eot_id == 599
    assert read_back.text.pad_id == read_back.tokenizer.token_to_id("unused7")


def test_sentence_transformers_keep_a_clip_in_a_folder_of_modules(tmp_path: Path) -> None:
    transformers_folder(tmp_path / "0_CLIPModel", CLIP)
    modules = [
        {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    ]
    folders.write_json(tmp_path / "modules.json", modules)
    check_values(read(tmp_path), CLIP)


@pytest.mark.parametrize("model_type", ["clip", "siglip"])
def test_without_a_configuration_of_the_tokenizer_its_class_says_the_rest(
    model_type: str, tmp_path: Path
) -> None:
    transformers_folder(tmp_path, CLIP if model_type == "clip" else SIGLIP, model_type)
    told = read(tmp_path)
    without(tmp_path, "tokenizer_config.json")
    read_back = read(tmp_path)
    assert read_back.text == told.text
    assert ids(read_back, "A cat") == ids(told, "A cat")
    assert tmp_path / "tokenizer_config.json" not in read_back.files


@pytest.mark.parametrize("name", ["pytorch_model.bin", "open_clip_pytorch_model.bin"])
def test_a_pickle_of_weights_is_read_where_there_are_no_safetensors(name: str, tmp_path: Path) -> None:
    if name == "pytorch_model.bin":
        arrays, architecture = transformers_folder(tmp_path, CLIP), CLIP
        without(tmp_path, "model.safetensors")
    else:
        arrays, architecture = open_clip_folder(tmp_path, OPEN_CLIP), OPEN_CLIP
        without(tmp_path, "open_clip_model.safetensors")
    write_torch(tmp_path / name, arrays)
    read_back = read(tmp_path)
    check_values(read_back, architecture)
    assert tmp_path / name in read_back.files


def test_a_folder_with_both_layouts_is_open_clips_if_that_has_weights(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    open_clip_folder(tmp_path, OPEN_CLIP)
    assert tmp_path / "open_clip_model.safetensors" in read(tmp_path).files
    without(tmp_path, "open_clip_model.safetensors")
    assert tmp_path / "model.safetensors" in read(tmp_path).files


def test_open_clips_options_reach_the_record(tmp_path: Path) -> None:
    heads = replace(vit(OPEN_CLIP), heads=2, activation="gelu", epsilon=1e-6, pre_norm=False)
    other = replace(
        OPEN_CLIP, image=heads, text=replace(words(OPEN_CLIP), activation="gelu_tanh", causal=False)
    )
    open_clip_folder(tmp_path, other)
    model = ["model_cfg", "vision_cfg"]
    edit(
        tmp_path / "open_clip_config.json",
        ([*model, "no_ln_pre"], True),
        ([*model, "norm_kwargs"], {"eps": 1e-6}),
        ([*model, "patch_dropout"], 0.5),  # in training only
        (["model_cfg", "text_cfg", "act_kwargs"], {"approximate": "tanh"}),
        (["model_cfg", "text_cfg", "no_causal_mask"], True),
        (["model_cfg", "text_cfg", "tokenizer_kwargs"], {"clean": "canonicalize"}),
        (["preprocess_cfg", "resize_mode"], "squash"),
        (["preprocess_cfg", "interpolation"], "bilinear"),
    )
    read_back = read(tmp_path)
    check_values(read_back, other)
    assert read_back.image == ImageSpec(size=32, resize="squash", interpolation="bilinear")
    assert (read_back.text.cleaning, read_back.text.padding) == ("canonicalize", "fixed")


def test_mean_and_deviation_are_told_only_where_the_files_do_not_say(tmp_path: Path) -> None:
    transformers_folder(tmp_path, CLIP)
    edit(tmp_path / "preprocessor_config.json", (["image_mean"], ...), (["image_std"], ...))
    read_back = read(tmp_path, UserFacts(mean=MEAN, std=STD))
    assert (read_back.mean, read_back.std) == (MEAN, STD)


def test_a_file_of_weights_is_read_with_the_name_of_its_architecture(tmp_path: Path) -> None:
    small = replace(vit(CLIP), width=384, heads=6, layers=12, mlp=1536, size=224, patch=32, activation="gelu")
    text = replace(OPEN_CLIP.text, width=384, heads=6, layers=12, mlp=1536, activation="gelu")
    architecture = Architecture(small, text, 384)
    open_clip_folder(tmp_path, architecture)
    file = (tmp_path / "open_clip_model.safetensors").rename(tmp_path / "mine.safetensors")
    read_back = read(file, UserFacts(architecture="ViT-S-32", mean=MEAN, std=STD))
    assert read_back.architecture == architecture
    assert (read_back.mean, read_back.std, read_back.files) == (MEAN, STD, (file,))
    quick = read(
        file, UserFacts(architecture="ViT-S-32", mean=MEAN, std=STD, activation="quick_gelu")
    ).architecture
    assert (vit(quick).activation, quick.text.activation) == ("quick_gelu", "quick_gelu")
