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
    ("name", "published"),  # by open_clip's results table; 0.003 is what decoders and precision may change
    [("ViT-B-32", 0.8983), ("ViT-B-32-laion2b", 0.9358)],
)
def test_a_model_has_its_published_accuracy(
    name: str, published: float, cifar10: Path, tmp_path: Path
) -> None:
    how = ("--classes", "cifar10", "--template", "cifar10", "--in-process", "--model", name)
    run("models", "evaluate", cifar10, *how, "--out", tmp_path)
    figures = json.loads((tmp_path / "report.json").read_text())["figures"]
    assert (figures["images"], figures["classes_that_occur"]) == (10_000, 10)
    assert figures["top1"] == pytest.approx(published, abs=0.003)


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
