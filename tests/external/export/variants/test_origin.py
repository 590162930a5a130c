"""The weights that an fp16 variant is made from are those of the artifact, or it is not made."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.variants.making import make_variant
from tests.external.export.variants.conftest import Planner, export_file


def test_weights_from_a_file_are_asked_for_and_compared(
    with_weights: Path, plan: Planner, tmp_path: Path
) -> None:
    fp32 = export_file(with_weights, "own", tmp_path / "fp32")
    asked = plan(tmp_path / "fp32", tmp_path / "out")
    with pytest.raises(
        ModelsError, match=rf"file of weights \({fp32.source.revision}\): give it with --weights"
    ):
        make_variant(asked, say=lambda _: None)
    with pytest.raises(
        ModelsError, match=rf"from weights of revision {fp32.source.revision}, but those found"
    ):
        make_variant(replace(asked, weights=with_weights / "other.pt"), say=lambda _: None)
    # An artifact whose manifest names another file: its vectors are those of neither.
    lying = shutil.copytree(tmp_path / "fp32", tmp_path / "lying")
    stored = json.loads((lying / "model.json").read_text())
    stored["source"]["revision"] = "a commit of the hub"
    (lying / "model.json").write_text(json.dumps(stored))
    wrong = plan(lying, tmp_path / "out", weights=with_weights / "other.pt")
    with pytest.raises(
        ModelsError, match=r"are not those of tiny-file: for image\.onnx they give vectors at cosine"
    ):
        make_variant(wrong, say=lambda _: None)
    assert not (tmp_path / "out").exists()
    made = make_variant(replace(asked, weights=with_weights / "own.pt"), say=lambda _: None)
    assert made.fingerprint().startswith("tiny-file@fp16-")
