"""Models of the real hub, from their names to published figures: needs a network, and CIFAR10, a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import clipserve
from clipserve.clip.artifact import read_manifest
from tests.process import ROOT

SECONDS = 3_600
TEXTS = ["a photo of a cat.", "a photo of a dog.", "two lorries in the rain"]


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """Its authors' files for Python: the folder `cifar-10-batches-py`."""
    return Path(os.environ["CIFAR10"])


def run(*words: str | Path) -> str:
    command = [sys.executable, "-m", "clipserve", *words]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, timeout=SECONDS).stdout


@pytest.mark.parametrize(
    ("name", "is_published"),
    [("ViT-B-32", True), ("ViT-B-32-laion2b", True), ("ViT-B-16-SigLIP2", False)],
)
def test_a_model_has_its_published_accuracy(
    name: str, is_published: bool, cifar10: Path, tmp_path: Path
) -> None:
    run(
        "models",
        "evaluate",
        cifar10,
        "--preset",
        "cifar10",
        "--in-process",
        "--model",
        name,
        "--out",
        tmp_path,
    )
    told = json.loads((tmp_path / "report.json").read_text())["expected"]
    print(f"{name}: {told['measured']:.4f}, published {told['expected']}")
    assert not told["other_set"]
    assert (told["expected"] is not None) == is_published
    assert told.get("within", not is_published), "published and measured differ by more than 0.003"


def test_openai_s_model_has_the_same_vectors_by_both_names(tmp_path: Path) -> None:
    vectors = []
    for name in ("openai/clip-vit-base-patch32", "ViT-B-32"):
        with clipserve.Clip(name, cache_dir=str(tmp_path)) as clip:
            found = [clip.embed_images([ROOT / "docs/cat.jpg"]).vectors, clip.embed_texts(TEXTS).vectors]
        vectors.append(np.concatenate(found))
    cosines = (vectors[0] * vectors[1]).sum(axis=1)
    print(f"lowest cosine {cosines.min():.8f}")
    assert cosines.min() > 0.99999
    source = read_manifest(tmp_path / "openai--clip-vit-base-patch32").source
    assert source.checkpoint.endswith("/openai/clip-vit-base-patch32")
    assert source.revision
    assert "model.safetensors" in (source.files or {})
