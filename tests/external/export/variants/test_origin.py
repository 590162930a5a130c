"""The weights that an fp16 variant is made from are those of the artifact, or it is not made."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve_models.artifact import sha256_of
from clipserve_models.errors import ModelsError
from clipserve_models.variants.making import make_variant
from tests.external.export.variants.conftest import Planner, export_file


@pytest.fixture(scope="module")
def own(with_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of one of them."""
    folder = tmp_path_factory.mktemp("own") / "fp32"
    assert export_file(with_weights, "own", folder) == read_manifest(folder)
    return folder


def test_weights_from_a_file_are_the_ones_exported(with_weights: Path, own: Path, tmp_path: Path) -> None:
    manifest = read_manifest(own)
    assert manifest.name == "tiny-file"
    assert manifest.scoring.logit_scale == pytest.approx(100)
    assert (manifest.source.revision or "").startswith("sha256:")
    assert not manifest.source.random_weights

    (tmp_path / "torn.pt").write_bytes((with_weights / "own.pt").read_bytes()[:1000])
    with pytest.raises(ModelsError, match=r"torn\.pt does not hold weights"):
        export_file(tmp_path, "torn", tmp_path / "out")


def test_weights_from_a_file_are_asked_for_and_compared(
    with_weights: Path, own: Path, plan: Planner, tmp_path: Path
) -> None:
    fp32 = read_manifest(own)
    asked = plan(own, tmp_path / "out")
    with pytest.raises(
        ModelsError, match=rf"file of weights \({fp32.source.revision}\): give it with --weights"
    ):
        make_variant(asked, say=lambda _: None)
    assert fp32.source.files == {"own.pt": sha256_of(with_weights / "own.pt")}
    with pytest.raises(ModelsError, match=r"tiny-file was not exported from other\.pt with the SHA-256"):
        make_variant(replace(asked, weights=with_weights / "other.pt"), say=lambda _: None)
    # An artifact whose manifest names another file: its vectors are not that file's.
    lying = shutil.copytree(own, tmp_path / "lying")
    edit_source(lying, files={"other.pt": sha256_of(with_weights / "other.pt")})
    wrong = plan(lying, tmp_path / "out", weights=with_weights / "other.pt")
    with pytest.raises(
        ModelsError, match=r"are not those of tiny-file: for image\.onnx they give vectors at cosine"
    ):
        make_variant(wrong, say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_equal_files_of_another_commit_and_name_are_the_weights(
    with_weights: Path, own: Path, plan: Planner, tmp_path: Path
) -> None:
    """As after an edit of the repository's README."""
    moved = shutil.copytree(own, tmp_path / "moved")
    edit_source(moved, revision="another commit of the hub")
    shutil.copyfile(with_weights / "own.pt", tmp_path / "renamed.pt")
    made = make_variant(plan(moved, tmp_path / "out", weights=tmp_path / "renamed.pt"), say=lambda _: None)
    assert made.fingerprint().startswith("tiny-file@fp16-")


def edit_source(folder: Path, **facts: Any) -> None:
    stored = json.loads((folder / "model.json").read_text())
    stored["source"] |= facts
    (folder / "model.json").write_text(json.dumps(stored))
