"""What decides whether a variant is published."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clipserve.clip.manifest import Variant
from clipserve_models.errors import ModelsError
from clipserve_models.variants.gate import Vectors, judge, measure, verdicts
from clipserve_models.variants.samples import Photos

FAITHFUL = Variant(
    made_of="any",
    method="static",
    towers=["image", "text"],
    calibration_photos=40,
    photos=80,
    labels=10,
    mean_cosine=0.999,
    p1_cosine=0.99,
    text_mean_cosine=0.999,
    text_p1_cosine=0.99,
    batch_cosine=1.0,
    top1_agreement=0.98,
    top1=0.9,
    top1_drop=0.0,
)

HALF = FAITHFUL.model_copy(
    update={
        "method": None,
        "calibration_photos": 0,
        "largest_value": 60.0,
        **dict.fromkeys(("mean_cosine", "text_mean_cosine"), 0.99991),
        **dict.fromkeys(("p1_cosine", "text_p1_cosine"), 0.99951),
    }
)


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("mean_cosine", 0.9899),
        ("p1_cosine", 0.9699),
        ("text_mean_cosine", 0.9899),
        ("text_p1_cosine", 0.9699),
        ("top1_agreement", 0.9699),
        ("top1_drop", 0.0101),
        ("mean_cosine", float("nan")),
    ],
)
def test_each_figure_decides_alone(figure: str, value: float) -> None:
    judge("int8", FAITHFUL)
    tower = "text" if figure.startswith("text") else "image" if "cosine" in figure else "(image|text)"
    with pytest.raises(ModelsError, match=rf"{value:.4f}.*--no-{tower}"):
        judge("int8", FAITHFUL.model_copy(update={figure: value}))


@pytest.mark.parametrize(
    ("figure", "value", "told"),
    [
        ("mean_cosine", 0.99989, "0.999890"),
        ("p1_cosine", 0.99949, "0.999490"),
        ("text_mean_cosine", 0.99989, "0.999890"),
        ("text_p1_cosine", 0.99949, "0.999490"),
        ("top1_agreement", 0.9699, "0.969900"),
        ("top1_drop", 0.0101, "0.0101"),
        ("largest_value", 8_000.1, "8000.1"),
        ("largest_value", float("inf"), "inf"),
    ],
)
def test_fp16_is_held_to_bounds_of_its_own(figure: str, value: float, told: str) -> None:
    judge("fp16", HALF)
    with pytest.raises(ModelsError, match=rf"the fp16 variant is not faithful.*{told} \(needed"):
        judge("fp16", HALF.model_copy(update={figure: value}))


def test_what_int8_may_lose_fp16_may_not() -> None:
    judge("int8", FAITHFUL)
    with pytest.raises(ModelsError) as refusal:
        judge("fp16", FAITHFUL.model_copy(update={"method": None, "towers": ["image"]}))
    assert "image cosine, mean 0.999000 (needed: at least 0.9999)" in str(refusal.value)
    assert "Try the fp32 artifact" in str(refusal.value), "there is nothing else to try"


def test_a_drop_of_one_point_is_allowed_and_a_gain_is_no_fault() -> None:
    for drop in (0.01, -0.1):
        judge("int8", FAITHFUL.model_copy(update={"top1_drop": 0.9 - (0.9 - drop)}))


def test_labels_are_not_asked_of_weights_that_were_never_trained() -> None:
    unit = np.eye(4, dtype=np.float32)
    before = Vectors(unit, unit, unit, unit, unit)
    photos = Photos(np.zeros((4, 1, 1, 3), np.uint8), ("a", "b", "c", "d"), ("a", "b", "c", "d"))
    after = replace(before, classifier=unit[::-1])
    for trained, agreement, drop in ((True, 0.0, 1.0), (False, None, None)):
        figures = measure(
            before,
            after,
            photos,
            made_of="any",
            method="static",
            towers=["image"],
            calibration_photos=9,
            largest=None,
            trained=trained,
        )
        assert (figures.top1_agreement, figures.top1_drop) == (agreement, drop)
        assert all(verdict.good for verdict in verdicts("int8", figures)) is not trained
