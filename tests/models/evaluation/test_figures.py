"""What a report is told, from rows that are written by hand."""

from __future__ import annotations

import math

import numpy as np

from clipserve_models.evaluation.figures import of_captions, of_labels
from clipserve_models.evaluation.items import Item
from clipserve_models.evaluation.report import Report

LABELS = ("cat", "dog", "a | b")
ITEMS = [Item(f"{number}.jpg", b"") for number in range(4)]
# Logits of the three labels, and the score of the first.
ROWS = np.array([[2, 1, 0, 0.5], [0, 2, 1, 0.9], [0, 2, 1, 0.75], [0, 1, 2, 0.75]], np.float32)


def test_of_labels_everything_is_told() -> None:
    figures = of_labels(ITEMS, ROWS, [[0], [0], [1], [2]], LABELS)  # the second is wrong
    calibration = figures.pop("calibration")
    assert figures == {
        "images": 4,
        "classes": 3,
        "classes_that_occur": 3,
        "top1": 0.75,
        "mean_per_class": 0.833333,  # 1/2, 1, 1
        "confusions": [{"truth": "cat", "predicted": "dog", "times": 1, "of": 2}],
        "surest_mistakes": [{"item": "1.jpg", "truth": "cat", "predicted": "dog", "score": 0.9}],
    }
    assert calibration["mean_score"] == 0.725
    # Of the bins: 0.5 and right, 0.9 and wrong, and two of 0.75 that are right.
    assert calibration["error"] == round((0.5 + 0.9 + 2 * 0.25) / 4, 6)


def test_what_is_left_out_is_wrong_and_has_no_calibration() -> None:
    rows = ROWS.copy()
    rows[0] = [-math.inf, -math.inf, -math.inf, math.nan]
    figures = of_labels(ITEMS, rows, [[0], [0], [1], [2]], LABELS)
    assert (figures["top1"], figures["calibration"]) == (0.5, None)
    assert [each["item"] for each in figures["surest_mistakes"]] == ["1.jpg"]
    assert figures["confusions"] == [{"truth": "cat", "predicted": "dog", "times": 1, "of": 2}]


def test_a_cell_of_a_table_is_a_cell_whatever_its_text_is() -> None:
    figures = of_labels(ITEMS, ROWS, [[0], [2], [1], [2]], LABELS)
    lines = Report("m", "m@1", "d", {"templates": [], "label_set": None}, figures).as_markdown().splitlines()
    assert "| a \\| b | dog | 1 | 2 |" in lines


def test_of_captions_both_ways_are_told() -> None:
    rows = np.array(
        [[1, 0], [0, 1], [1, 0], [0.6, 0.8], [0.8, 0.6]], np.float32
    )  # two images, three captions
    figures = of_captions(rows, [2, 1])
    assert (figures["images"], figures["captions"]) == (2, 3)
    assert figures["captions_of_an_image"] == {"recall_at_1": 0.5, "recall_at_5": 1.0, "recall_at_10": 1.0}
    assert figures["image_of_a_caption"] == {"recall_at_1": 0.333333, "recall_at_5": 1.0, "recall_at_10": 1.0}
    assert figures["mean_recall_at_1"] == 0.416667
