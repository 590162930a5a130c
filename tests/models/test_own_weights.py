"""Weights of one's own: their names, licences and origins, and what must be told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from tests.models.asking import ask
from tests.models.layouts.folders import write_safetensors
from tests.models.layouts.written import clip, open_clip

FILE = ("--model", "ViT-B-32", "--mean", "0.1", "0.2", "0.3", "--std", "0.4", "0.5", "0.6")


def test_a_folder_says_that_it_is_yours(cache: Path, tmp_path: Path) -> None:
    for write, name in ((clip, "street"), (open_clip, "fashion")):
        write(tmp_path / name)
        assert ask("export", str(tmp_path / name)).returncode == 0
    source = read_manifest(cache / "street").source
    assert (source.checkpoint, source.licence) == ("a folder of yours: street", "not stated")
    assert "model.safetensors" in (source.files or {})


@pytest.mark.parametrize("how", [("--name", "ViT-B-32"), ("--name", "demo")])
def test_own_weights_take_no_name_of_another_model(how: tuple[str, ...], cache: Path, tmp_path: Path) -> None:
    clip(tmp_path / "street")
    refused = ask("export", str(tmp_path / "street"), *how)
    assert refused.returncode == 1
    assert f"{how[-1]} is the name of another model: give" in refused.stderr
    assert not cache.exists()


def test_a_folder_called_as_a_catalog_s_model_needs_a_name(cache: Path, tmp_path: Path) -> None:
    clip(tmp_path / "ViT-B-32")
    assert "give" in ask("export", str(tmp_path / "ViT-B-32")).stderr
    assert ask("export", str(tmp_path / "ViT-B-32"), "--name", "mine").returncode == 0
    assert read_manifest(cache / "mine").source.licence == "not stated"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("FILE",), "is a file of yours: give the model's name with --name"),
        (("FILE", "--name", "mine"), "--model"),
        (("FILE", "--name", "mine", "--model", "ViT-B-32"), "give --mean and --std"),
        (("FILE", "--name", "mine", "--model", "RN50"), "give --mean and --std"),
        (("FILE", "--model", "ViT-B-32", "--name", "ViT-B-32"), "is the name of another model"),
        (("ViT-B-32", "--licence", "MIT"), "the catalog says all of ViT-B-32"),
        (("ViT-B-32", "--name", "mine"), "the catalog says all of ViT-B-32"),
        (("RN50-random", "--name", "mine"), "comes from open_clip"),
    ],
)
def test_what_nothing_says_must_be_told(
    words: tuple[str, ...], said: str, cache: Path, tmp_path: Path
) -> None:
    file = tmp_path / "epoch_1.safetensors"
    write_safetensors(file, {})
    refused = ask("export", *(str(file) if word == "FILE" else word for word in words))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert said in refused.stderr
    assert not cache.exists()
