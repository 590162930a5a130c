"""What decides whether an int8 variant is published."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.errors import ModelsError
from models.gate import Vectors, judge, measure, verdicts
from models.samples import Photos
from service.clip.manifest import Quantization

FAITHFUL = Quantization(
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
    judge(FAITHFUL)
    tower = "text" if figure.startswith("text") else "image" if "cosine" in figure else "(image|text)"
    with pytest.raises(ModelsError, match=rf"{value:.4f}.*--no-{tower}"):
        judge(FAITHFUL.model_copy(update={figure: value}))


def test_a_drop_of_one_point_is_allowed_and_a_gain_is_no_fault() -> None:
    for drop in (0.01, -0.1):
        judge(FAITHFUL.model_copy(update={"top1_drop": 0.9 - (0.9 - drop)}))


def test_labels_are_not_asked_of_weights_that_were_never_trained() -> None:
    unit = np.eye(4, dtype=np.float32)
    before = Vectors(unit, unit, unit, unit, unit)
    photos = Photos(np.zeros((4, 1, 1, 3), np.uint8), ("a", "b", "c", "d"), ("a", "b", "c", "d"))
    after = replace(before, classifier=unit[::-1])
    for trained, agreement, drop in ((True, 0.0, 1.0), (False, None, None)):
        figures = measure(
            before, after, photos, method="static", towers=["image"], calibration_photos=9, trained=trained
        )
        assert (figures.top1_agreement, figures.top1_drop) == (agreement, drop)
        assert all(verdict.good for verdict in verdicts(figures)) is not trained
