"""What decides whether a variant is published."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from clipserve.clip.manifest import Variant
from clipserve_models.errors import ModelsError
from clipserve_models.variants.gate import VariantPrecision, Vectors, judge, measure, verdicts

COSINES = ("mean_cosine", "p1_cosine", "text_mean_cosine", "text_p1_cosine")
# Just above every bound, and just below.
GOOD: dict[VariantPrecision, tuple[float, ...]] = {
    "fp16": (0.99991, 0.99951, 0.99991, 0.99951, 0.971),
    "int8": (0.9901, 0.9701, 0.9901, 0.9701, 0.971),
}
BAD = {"fp16": (0.99989, 0.99949, 0.99989, 0.99949, 0.9699), "int8": (0.9899, 0.9699, 0.9899, 0.9699, 0.9699)}
FIGURES = (*COSINES, "top1_agreement")


def record(precision: VariantPrecision, **changes: Any) -> Variant:
    told = {"made_of": "any", "towers": ["image", "text"], "photos": 80, "labels": 68}
    told |= {"calibration_photos": 40 if precision == "int8" else 0}
    return Variant.model_validate(told | dict(zip(FIGURES, GOOD[precision], strict=True)) | changes)


@pytest.mark.parametrize("precision", GOOD)
@pytest.mark.parametrize("place", range(5), ids=FIGURES)
def test_each_figure_decides_alone(precision: VariantPrecision, place: int) -> None:
    judge(precision, record(precision))
    figure, digits = FIGURES[place], 6 if precision == "fp16" else 4
    tower = "text" if figure.startswith("text") else "image" if "cosine" in figure else "(image|text)"
    for value in (BAD[precision][place], float("nan")):
        said = (
            rf"the {precision} variant is not faithful.* {value:.{digits}f} \(needed: at least .*--no-{tower}"
        )
        with pytest.raises(ModelsError, match=said):
            judge(precision, record(precision, **{figure: value}))


def test_where_nothing_else_can_be_tried_it_says_fp32() -> None:
    with pytest.raises(ModelsError, match="Try the fp32 artifact"):
        judge("fp16", record("fp16", towers=["image"], mean_cosine=0.999))


def test_labels_are_not_asked_of_weights_that_were_never_trained() -> None:
    unit = np.eye(4, dtype=np.float32)
    before, after = Vectors(unit, unit, unit), Vectors(unit, unit, unit[::-1])
    for trained, agreement in ((True, 0.0), (False, None)):
        told = record("int8", **measure(before, after, trained=trained))
        assert (told.photos, told.labels, told.top1_agreement) == (4, 4, agreement)
        assert all(verdict.good for verdict in verdicts("int8", told)) is not trained
