"""The scale of an exported model is read from the hub with two ranges of bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.imported.scale import scoring_of
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.folders import write_safetensors

LARGE = 3_000_000  # bytes of weights that nobody needs


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    path = tmp_path / "model.safetensors"
    logarithm = np.full(1, np.log(50))
    write_safetensors(
        path, {"first": np.zeros(LARGE // 4), "logit_scale": logarithm, "last": np.zeros(LARGE // 4)}
    )
    return path.read_bytes()


def test_a_few_bytes_of_the_weights_are_read(weights: bytes, hub: LocalHub) -> None:
    hub.repos["org/name"] = repo = Repo({"model.safetensors": weights}, branches=("v2",))
    assert scoring_of("org/name@v2").logit_scale == pytest.approx(50, rel=1e-6)
    assert repo.asked[-2:] == ["GET org/name/resolve/v2/model.safetensors"] * 2
    assert repo.sent < LARGE / 10


def test_a_hub_without_ranges_or_without_weights_is_told_so(weights: bytes, hub: LocalHub) -> None:
    hub.repos["org/name"] = Repo({"open_clip_model.safetensors": weights}, ranges=False)
    with pytest.raises(ModelsError, match="answers 200 where 206, a part of the file, is needed"):
        scoring_of("org/name")
    with pytest.raises(ModelsError, match=r"org/other has no open_clip_model or .*give --logit-scale"):
        scoring_of("org/other")
