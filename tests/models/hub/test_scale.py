"""The scale of an exported model is read from its weights on the hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.imported.scale import scoring_of
from tests.models.hub.local_hub import LocalHub, Repo
from tests.models.layouts.folders import write_safetensors


def test_the_scale_is_that_of_the_weights(hub: LocalHub, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"logit_scale": np.full(1, np.log(50)), "other": np.zeros(3)})
    hub.repos["org/name"] = Repo({path.name: path.read_bytes()}, branches=("v2",))
    for source in ("org/name@v2", str(path)):
        assert scoring_of(source).logit_scale == pytest.approx(50, rel=1e-6)
    with pytest.raises(ModelsError, match="org/other at 'main' does not exist"):
        scoring_of("org/other")
