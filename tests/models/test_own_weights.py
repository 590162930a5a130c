"""Weights of one's own: their names, licences and origins, and what must be told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from tests.models.asking import ask
from tests.models.layouts.saved import write_safetensors
from tests.models.layouts.written import clip, open_clip


def test_a_folder_says_that_it_is_yours(cache: Path, tmp_path: Path) -> None:
    for write, name, words in ((clip, "ViT-B-32", ("--name", "mine")), (open_clip, "fashion", ())):
        write(tmp_path / name)
        assert ask("export", str(tmp_path / name), *words).returncode == 0
    source = read_manifest(cache / "mine").source
    assert (source.checkpoint, source.licence) == ("a folder of yours: ViT-B-32", "not stated")
    assert "model.safetensors" in (source.files or {})
    assert read_manifest(cache / "fashion").source.checkpoint == "a folder of yours: fashion"


TAKEN = "is the name of another model: give"
IN_CATALOG = "the catalog says all of ViT-B-32"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("FOLDER",), f"ViT-B-32 {TAKEN}"),
        (("FOLDER", "--name", "demo"), f"demo {TAKEN}"),
        (("FOLDER", "--name", "a/b"), "a model cannot be named 'a/b'"),
        (("FILE",), "is a file of yours: give the model's name with --name"),
        (("FILE", "--name", "mine"), "--model"),
        (("FILE", "--name", "mine", "--model", "RN50"), "give --mean and --std"),
        (("FILE", "--model", "ViT-B-32", "--name", "ViT-B-32"), TAKEN),
        (("ViT-B-32", "--licence", "MIT"), IN_CATALOG),
        (("ViT-B-32", "--name", "mine"), IN_CATALOG),
        (("RN50-random", "--name", "mine"), "comes from open_clip"),
    ],
)
def test_what_nothing_says_must_be_told(
    words: tuple[str, ...], said: str, cache: Path, tmp_path: Path
) -> None:
    clip(tmp_path / "ViT-B-32")
    write_safetensors(tmp_path / "epoch_1.safetensors", {})
    paths = {"FILE": tmp_path / "epoch_1.safetensors", "FOLDER": tmp_path / "ViT-B-32"}
    refused = ask("export", *(str(paths.get(word, word)) for word in words))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert said in refused.stderr
    assert not cache.exists()
