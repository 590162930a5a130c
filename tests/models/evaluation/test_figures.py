"""Every figure against a value that was computed by hand."""

from __future__ import annotations

import math

import numpy as np

from clipserve_models.evaluation import figures
from clipserve_models.evaluation.figures import of_captions, of_labels
from clipserve_models.evaluation.report import table

INF = -math.inf
LOGITS = np.array([[2, 1, 0], [0, 2, 1], [0, 2, 1], [0, 1, 2]], np.float32)


def test_of_labels_everything_is_told() -> None:
    found = of_labels(LOGITS, [[0], [0], [1], [2]])  # the second is wrong
    counts = {"images": 4, "classes": 3, "classes_that_occur": 3}
    assert found == counts | {"top1": 0.75, "mean_per_class": 0.833333}  # 1/2, 1, 1
    six = np.array([[6, 5, 4, 3, 2, 1]], np.float32)
    assert [of_labels(six, [[place]])["top5"] for place in (0, 4, 5)] == [1, 1, 0]
    left_out = np.where(np.arange(4)[:, np.newaxis] == 0, np.float32(INF), LOGITS)
    assert of_labels(left_out, [[0], [0], [1], [2]])["top1"] == 0.5


def test_of_captions_both_ways_are_told() -> None:
    images = np.array([[1, 0], [0, 1]], np.float32)
    texts = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6]], np.float32)
    assert of_captions(images, texts, [2, 1]) == {
        "images": 2,
        "captions": 3,
        "captions_of_an_image": {"recall_at_1": 0.5, "recall_at_5": 1.0, "recall_at_10": 1.0},
        "image_of_a_caption": {"recall_at_1": 0.333333, "recall_at_5": 1.0, "recall_at_10": 1.0},
        "mean_recall_at_1": 0.416667,
    }


def test_a_rank_counts_what_comes_before_the_first_right_label() -> None:
    scores = np.array([[3, 2, 1], [3, 2, 1], [1, 5, 5], [1, 5, 5], [INF, 2, 1], [3, 2, 1]], np.float32)
    places = [(0,), (2,), (1,), (2,), (0,), (1, 2)]
    found = figures.ranks(scores, np.array([[label in row for label in range(3)] for row in places]))
    # Of equals the lower place is first; what has no score is behind all; of several right ones the first counts.
    assert found.tolist() == [0, 2, 0, 1, 3, 1]
    assert [figures.recall_at(found, k) for k in (1, 2, 3, 5)] == [2 / 6, 4 / 6, 5 / 6, 1.0]
    same = np.ones((4, 1), np.float32)  # a model that says the same of everything has the recall of chance
    found = figures.retrieval_ranks(same, same, np.arange(4), np.arange(4))
    assert figures.recall_at(found, 1) == 0.25


def test_a_cell_of_a_table_is_a_cell_whatever_its_text_is() -> None:
    assert next(table(("a | b", "c\nd"))) == "| a \\| b | c d |"
