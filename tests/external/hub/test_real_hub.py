"""Models of the real hub, from their names to published figures: needs a network, and CIFAR10, a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 3_600


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """Its authors' files for Python: the folder `cifar-10-batches-py`."""
    return Path(os.environ["CIFAR10"])


def run(*words: str | Path) -> str:
    command = [sys.executable, "-m", "clipserve", *words]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, timeout=SECONDS).stdout


@pytest.mark.parametrize(
    ("name", "published"),  # by open_clip's results table; 0.003 is what decoders and precision may change
    [("ViT-B-32", 0.8983), ("openai/clip-vit-base-patch32", 0.8983), ("ViT-B-32-laion2b", 0.9358)],
)
def test_a_model_has_its_published_accuracy(
    name: str, published: float, cifar10: Path, tmp_path: Path
) -> None:
    how = ("--classes", "cifar10", "--template", "cifar10", "--in-process", "--model", name)
    run("models", "evaluate", cifar10, *how, "--out", tmp_path)
    figures = json.loads((tmp_path / "report.json").read_text())["figures"]
    assert (figures["images"], figures["classes_that_occur"]) == (10_000, 10)
    assert figures["top1"] == pytest.approx(published, abs=0.003)
