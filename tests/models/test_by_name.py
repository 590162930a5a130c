"""A start by the name of a model, with the real exporter and random weights."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from clipserve.clip.artifact import read_manifest
from tests.process import Process, failed_start

pytestmark = pytest.mark.export

SECONDS = 900.0  # half a minute, on a machine that is not busy


def test_the_first_start_exports_and_the_second_does_not(tmp_path: Path) -> None:
    settings = {"models": "ViT-B-32-random", "cache_dir": str(tmp_path), "backend": "onnx"}
    first = Process(**settings)
    first.wait_ready(SECONDS)
    (model,) = httpx.get(first.url + "/v1/models").json()["data"]
    log = first.stop()[1]
    assert log.index("exporting_model") < log.index("comparing with PyTorch") < log.index("model_exported")
    manifest = read_manifest(tmp_path / "ViT-B-32-random")
    assert manifest.source.random_weights
    assert (model["id"], model["fingerprint"]) == (manifest.name, manifest.fingerprint())
    assert {path.name for path in tmp_path.iterdir()} == {"ViT-B-32-random", ".ViT-B-32-random.lock"}

    second = Process(**settings)
    second.wait_ready(SECONDS)
    (again,) = httpx.get(second.url + "/v1/models").json()["data"]
    assert again == model
    assert "exporting_model" not in second.stop()[1]


def test_an_unknown_name_is_told_with_those_that_are_like_it(tmp_path: Path) -> None:
    status, said = failed_start(models="ViT-B-33", cache_dir=str(tmp_path))
    assert status == 1
    assert "ViT-B-33 is neither a folder nor a model in" in said
    assert "Similar names: ViT-B-32" in said
