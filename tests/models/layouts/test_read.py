"""Other forms of the folders in test_saved.py, and what a file of weights needs to be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipserve.clip.manifest import ImageSpec
from clipserve.clip.tokenizer import Tokenizer
from clipserve_models.layouts import read
from clipserve_models.layouts.assigning import Assignment
from clipserve_models.model_files import Checkpoint, UserFacts
from tests.models.layouts.changes import both, edit, gone, told, write_json
from tests.models.layouts.saved import WEIGHTS, Arrays, stored, write_safetensors
from tests.models.layouts.written import (
    OPEN_WEIGHTS,
    AnyTensors,
    clip,
    modules,
    open_clip,
    pickled,
    sharded,
    siglip,
)
from tests.models.towers import vit, words

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
CONFIG, TOKENS, OPEN = "config.json ", "tokenizer_config.json ", "open_clip_config.json "
PREPROCESSOR = "preprocessor_config.json"
Write = Callable[[Path], Any]


def ids(checkpoint: Checkpoint, text: str) -> list[int]:
    return Tokenizer(checkpoint.text, checkpoint.tokenizer).encode([text])[0].ids


def names(checkpoint: Checkpoint) -> set[str]:
    return {path.name for path in checkpoint.files}


def halved(folder: Path) -> None:
    write_safetensors(folder / WEIGHTS, clip(folder), "F16")


def with_positions(folder: Path) -> None:
    """Tensors that are computed need no role."""
    computed = {"text_model.embeddings.position_ids": np.arange(77, dtype=np.float32)[None]}
    write_safetensors(folder / WEIGHTS, clip(folder) | computed)


def of_fg_clip(folder: Path) -> None:
    """CLIP's tensors, and others for other ends, behind code that is not run."""
    others: Arrays = {
        "text_filip_projection.weight": np.ones((3, 3), np.float32),
        "logit_scale_hardneg": np.ones(1, np.float32),
    }
    write_safetensors(folder / WEIGHTS, clip(folder) | others)
    edit(folder, f"{CONFIG}architectures", ["FGCLIPModel"])
    edit(folder, f"{CONFIG}auto_map", {"AutoModel": "modeling_fgclip.FGCLIPModel"})


def of_defaults(folder: Path) -> None:
    """What a configuration omits is the default of its class."""
    clip(folder)
    for key in ("hidden_act", "layer_norm_eps", "max_position_embeddings"):
        edit(folder, f"{CONFIG}text_config.{key}")


@pytest.mark.parametrize(
    ("write", "plain", "precision"),
    [
        pytest.param(halved, clip, 1e-3, id="fp16"),
        pytest.param(sharded, clip, 1e-2, id="shards of bf16"),
        pytest.param(with_positions, clip, 0, id="computed tensors"),
        pytest.param(of_defaults, clip, 0, id="defaults"),
        pytest.param(both(clip, told(f"{TOKENS}model_max_length", 10**30)), clip, 0, id="longer texts"),
        pytest.param(
            both(clip, told(f"{CONFIG}auto_map", {"AutoModel": "m.CLIPModel"})), clip, 0, id="BGE-VL"
        ),
        pytest.param(of_fg_clip, clip, 0, id="FG-CLIP"),
        pytest.param(modules, clip, 0, id="sentence-transformers"),
        pytest.param(pickled, clip, 0, id="a pickle"),
        pytest.param(both(clip, open_clip), open_clip, 0, id="both layouts"),
        pytest.param(both(clip, open_clip, gone(OPEN_WEIGHTS)), clip, 0, id="both, and weights of one"),
    ],
)
def test_other_forms_of_the_same_model_are_the_same_record(
    write: Write, plain: Write, precision: float, tmp_path: Path
) -> None:
    write(tmp_path / "form")
    plain(tmp_path / "plain")
    found, expected = read(tmp_path / "form"), read(tmp_path / "plain")
    assert (found.architecture, found.text) == (expected.architecture, expected.text)
    assert found.tensors.keys() == expected.tensors.keys()
    for role, tensor in found.tensors.items():
        values = expected.tensors[role].read()
        np.testing.assert_allclose(tensor.read(), values, rtol=precision, atol=precision, err_msg=role)
    weights = {path.name for path in (tmp_path / "form").rglob("*model*") if "config" not in path.name}
    assert names(found) & weights


@pytest.mark.parametrize(("name", "length"), [("Chinese-CLIP", 20), ("CLIP", 30)])
def test_texts_are_cut_to_the_length_of_the_tokenizer_if_the_model_has_more_positions(
    name: str, length: int, tmp_path: Path
) -> None:
    stored()[name].write(tmp_path)
    whole = read(tmp_path)
    facts = json.loads((tmp_path / TOKENS.strip()).read_text()) if name == "CLIP" else {}
    write_json(
        tmp_path / TOKENS.strip(), {"tokenizer_class": "BertTokenizer"} | facts | {"model_max_length": length}
    )
    found = read(tmp_path)
    assert found.text.context_length == found.architecture.text.context_length == length < 52
    positions = [each.tensors["text.positions"].read()[:length] for each in (found, whole)]
    np.testing.assert_array_equal(positions[0], positions[1])


@pytest.mark.parametrize("named", ["GemmaTokenizer", "Siglip2Tokenizer", "PreTrainedTokenizerFast"])
def test_siglip2_gets_lower_case_texts_whatever_class_its_tokenizer_names(named: str, tmp_path: Path) -> None:
    stored()["SigLIP2"].write(tmp_path)
    edit(tmp_path, f"{TOKENS}tokenizer_class", named)
    edit(tmp_path, f"{TOKENS}do_lower_case", False)
    edit(tmp_path, "tokenizer.json post_processor", None)
    found = read(tmp_path)
    assert found.text.cleaning == "lowercase"
    assert ids(found, "A CAT") == ids(found, "a cat")
    assert ids(found, "a.") != ids(found, "a"), "punctuation stays"
    assert ids(found, "")[-1] == 1, "the end that the configuration asks for"


def test_transformers_5_keeps_the_preprocessing_in_processor_config(tmp_path: Path) -> None:
    clip(tmp_path)
    images = json.loads((tmp_path / PREPROCESSOR).read_text()) | {"resample": 2}
    gone(PREPROCESSOR)(tmp_path)
    write_json(tmp_path / "processor_config.json", {"image_processor": images})
    found = read(tmp_path)
    assert found.image.interpolation == "bilinear"
    facts = {"config.json", "processor_config.json", "tokenizer_config.json"}
    assert names(found) == facts | {WEIGHTS, "vocab.json", "merges.txt"}


def test_special_tokens_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    clip(tmp_path)
    for key in ("eos_token", "pad_token"):
        edit(tmp_path, f"{TOKENS}{key}")
    special = {"eos_token": {"content": "<|endoftext|>"}, "pad_token": "a</w>"}
    write_json(tmp_path / "special_tokens_map.json", special)
    found = read(tmp_path)
    end, pad = (found.tokenizer.token_to_id(each) for each in ("<|endoftext|>", "a</w>"))
    assert (found.text.eot_id, found.text.pad_id) == (end, pad)


@pytest.mark.parametrize("write", [clip, siglip])
def test_without_a_configuration_of_the_tokenizer_its_class_says_the_rest(
    write: Write, tmp_path: Path
) -> None:
    write(tmp_path)
    before = read(tmp_path)
    gone("tokenizer_config.json")(tmp_path)
    found = read(tmp_path)
    assert found.text == before.text
    assert ids(found, "A cat") == ids(before, "A cat")


def test_open_clips_options_reach_the_record(tmp_path: Path) -> None:
    arrays = open_clip(tmp_path)
    before = read(tmp_path).architecture
    without = {name: array for name, array in arrays.items() if "ln_pre" not in name}
    write_safetensors(tmp_path / OPEN_WEIGHTS, without)
    vision, words_of = f"{OPEN}model_cfg.vision_cfg", f"{OPEN}model_cfg.text_cfg"
    edit(tmp_path, f"{OPEN}model_cfg.quick_gelu", False)
    edit(tmp_path, f"{vision}.head_width", 40)
    edit(tmp_path, f"{vision}.no_ln_pre", True)
    edit(tmp_path, f"{vision}.norm_kwargs", {"eps": 1e-6})
    edit(tmp_path, f"{vision}.patch_dropout", 0.5)  # in training only
    edit(tmp_path, f"{words_of}.act_kwargs", {"approximate": "tanh"})
    edit(tmp_path, f"{words_of}.no_causal_mask", True)
    edit(tmp_path, f"{words_of}.tokenizer_kwargs", {"clean": "canonicalize"})
    edit(tmp_path, f"{OPEN}preprocess_cfg.resize_mode", "squash")
    edit(tmp_path, f"{OPEN}preprocess_cfg.interpolation", "bilinear")
    found = read(tmp_path)
    image = replace(vit(before), heads=4, activation="gelu", epsilon=1e-6, pre_norm=False)
    text = replace(words(before), activation="gelu_tanh", causal=False)
    assert found.architecture == replace(before, image=image, text=text)
    assert found.image == ImageSpec(size=64, resize="squash", interpolation="bilinear")
    assert (found.text.cleaning, found.text.padding) == ("canonicalize", "fixed")


def test_mean_and_deviation_are_told_only_where_the_files_do_not_say(tmp_path: Path) -> None:
    both(clip, *(told(f"{PREPROCESSOR} image_{each}") for each in ("mean", "std")))(tmp_path)
    found = read(tmp_path, UserFacts(mean=MEAN, std=STD))
    assert (found.mean, found.std) == (MEAN, STD)


def test_a_file_of_weights_is_read_with_the_name_of_its_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Assignment, "of_files", lambda files: AnyTensors(files[0], {}))
    (tmp_path / "mine.safetensors").touch()
    by_user = UserFacts("ViT-S-32", activation="quick_gelu", mean=MEAN, std=STD)
    found = read(tmp_path / "mine.safetensors", by_user)
    image, text = vit(found.architecture), found.architecture.text
    assert (image.width, image.heads, image.patch, text.width) == (384, 6, 32, 384)
    assert image.activation == text.activation == "quick_gelu"
    assert (found.mean, found.std, found.files) == (MEAN, STD, (tmp_path / "mine.safetensors",))
