"""docs/vectors.md says what changes a fingerprint; the manifest and the settings agree."""

from __future__ import annotations

from typing import Any

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.images import ImageLimits
from clipserve.demo import FOLDER as DEMO
from tests.docs.markdown import ROOT

MANIFEST = read_manifest(DEMO)


@pytest.mark.parametrize(
    ("choice", "changes"),
    [
        ({"exif_transpose": False}, True),
        ({"scaled_decode": True}, True),
        ({"image_formats": ("JPEG", "GIF"), "max_pixels": 1_000, "max_side": 100, "max_scans": 5}, False),
    ],
)
def test_choices_about_pixels_alone_change_the_fingerprint(choice: dict[str, Any], changes: bool) -> None:
    choices = ImageLimits(**choice).choices
    assert (MANIFEST.fingerprint(*choices) != MANIFEST.fingerprint()) is changes
    page = (ROOT / "docs/vectors.md").read_text()
    assert [name for name in choice if (f"CLIPSERVE_{name.upper()}" in page) is not changes] == []


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ({"files": {**MANIFEST.files, "tokenizer.json": "0" * 64}}, True),
        ({"name": "other"}, True),
        ({"prompt_templates": ["a photo of a {}."]}, False),
        ({"scoring": MANIFEST.scoring.model_copy(update={"logit_scale": 1.0})}, False),
        ({"source": MANIFEST.source.model_copy(update={"licence": "none"})}, False),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
def test_weights_and_name_change_the_fingerprint_and_scores_do_not(
    part: dict[str, Any], changes: bool
) -> None:
    changed = MANIFEST.model_copy(update=part).fingerprint()
    assert (changed != MANIFEST.fingerprint()) is changes
