"""The libraries still save and compute what is stored, and open_clip's architectures are those that are built."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from clipserve_models.layouts.open_clip_folder import ARCHITECTURES, architecture_of
from tests.external.export.saved_models import SAVED, blocks_of, made
from tests.models.layouts.saved import stored
from tools.architectures import architectures


@pytest.mark.parametrize("name", SAVED)
def test_a_library_saves_and_computes_what_is_stored(name: str, tmp_path: Path) -> None:
    found, expected = (
        json.loads(json.dumps(asdict(each))) for each in (made(name, tmp_path), stored()[name])
    )
    for vectors in ("images", "texts"):
        new, old = found["computed"].pop(vectors), expected["computed"].pop(vectors)
        np.testing.assert_allclose(new, old, atol=1e-6)
    assert found == expected


def test_the_stored_architectures_are_open_clips() -> None:
    of_tests = re.compile(r"tiny.*|.*-short")
    found = {
        name: facts for name, facts in json.loads(architectures()).items() if not of_tests.fullmatch(name)
    }
    assert json.loads(ARCHITECTURES.read_text("utf-8")) == found


@pytest.mark.parametrize(
    "name",
    [
        # By day the one whose activation is not that of the SigLIP above.
        pytest.param(each, marks=[pytest.mark.nightly] * (each != "ViT-B-16-SigLIP"))
        for each in json.loads(ARCHITECTURES.read_text("utf-8"))
    ],
)
def test_every_architecture_has_the_facts_that_open_clip_gives_its_modules(name: str) -> None:
    import open_clip
    import torch

    from clipserve_models.layouts.facts import Facts

    config = open_clip.get_model_config(name)
    own = architecture_of(Facts(name, config))
    with torch.device("meta"):
        kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
        model = kind(**config)
    for tower, told in zip((own.image, own.text), blocks_of(model), strict=True):
        assert [tower.heads, tower.epsilon, getattr(tower, "activation", "relu")] == told
