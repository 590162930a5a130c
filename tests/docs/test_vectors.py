"""docs/vectors.md says what changes a fingerprint; the manifest and the settings agree."""

from __future__ import annotations

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.images import ImageLimits
from clipserve.demo import FOLDER as DEMO
from tests.docs.markdown import ROOT

PAGE = (ROOT / "docs/vectors.md").read_text()
MANIFEST = read_manifest(DEMO)


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("CLIPSERVE_EXIF_TRANSPOSE", ImageLimits(exif_transpose=False)),
        ("CLIPSERVE_SCALED_DECODE", ImageLimits(scaled_decode=True)),
    ],
)
def test_a_choice_about_pixels_is_named_and_changes_the_fingerprint(name: str, limits: ImageLimits) -> None:
    assert MANIFEST.fingerprint(*limits.choices) != MANIFEST.fingerprint()
    assert f"`{name}`" in PAGE


def test_no_other_choice_about_images_changes_it() -> None:
    limits = ImageLimits(
        image_formats=("JPEG", "GIF"), max_pixels=1_000, max_side=100, max_aspect=2, max_scans=5
    )
    assert limits.choices == []


def test_precision_and_weights_change_it() -> None:
    other = MANIFEST.model_copy(update={"files": {**MANIFEST.files, "tokenizer.json": "0" * 64}})
    found = {MANIFEST.fingerprint(), MANIFEST.fingerprint(precision="bf16"), other.fingerprint()}
    assert len(found) == 3


def test_templates_scores_and_origin_do_not() -> None:
    changes = {
        "prompt_templates": ["a photo of a {}."],
        "scoring": MANIFEST.scoring.model_copy(update={"logit_scale": 1.0}),
        "source": MANIFEST.source.model_copy(update={"licence": "none"}),
    }
    assert MANIFEST.model_copy(update=changes).fingerprint() == MANIFEST.fingerprint()


def test_another_name_changes_its_first_part_alone() -> None:
    renamed = MANIFEST.model_copy(update={"name": "other"}).fingerprint()
    assert renamed == MANIFEST.fingerprint().replace("demo@", "other@", 1)
