"""The scale of an exported model is read from the hub with two ranges of bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.folders import write_safetensors

LARGE = 3_000_000  # bytes of weights that nobody needs


def scale(url: str, source: str) -> subprocess.CompletedProcess[str]:
    """In a process, because huggingface_hub reads its variables when it is imported."""
    program = (
        f"from clipserve_models.imported.scale import scoring_of; print(scoring_of({source!r}).logit_scale)"
    )
    environment = os.environ | {"HF_ENDPOINT": url}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    path = tmp_path / "model.safetensors"
    logarithm = np.full(1, np.log(50))
    write_safetensors(
        path, {"first": np.zeros(LARGE // 4), "logit_scale": logarithm, "last": np.zeros(LARGE // 4)}
    )
    return path.read_bytes()


def test_a_few_bytes_of_the_weights_are_read(weights: bytes) -> None:
    with LocalHub().running() as hub:
        hub.repos["org/name"] = repo = Repo({"model.safetensors": weights}, branches=("v2",))
        answer = scale(hub.url, "org/name@v2")
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout) == pytest.approx(50, rel=1e-6)
    assert repo.asked[-2:] == ["GET org/name/resolve/v2/model.safetensors"] * 2
    assert repo.sent < LARGE / 10


def test_a_hub_without_ranges_or_without_weights_is_told_so(weights: bytes) -> None:
    with LocalHub().running() as hub:
        hub.repos["org/name"] = Repo({"open_clip_model.safetensors": weights}, ranges=False)
        whole, absent = scale(hub.url, "org/name"), scale(hub.url, "org/other")
    assert "answers 200 where 206, a part of the file, is needed" in whole.stderr
    assert "org/other has no open_clip_model or" in absent.stderr
    assert "give --logit-scale" in absent.stderr
