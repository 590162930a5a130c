"""Every figure against a value that was computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from clipserve_models.evaluation import metrics
from clipserve_models.evaluation.metrics import Confusion

INF = -math.inf


def right(*places: tuple[int, ...], labels: int) -> metrics.Flags:
    return np.array([[label in row for label in range(labels)] for row in places])


def test_a_rank_counts_what_comes_before_the_first_right_label() -> None:
    scores = np.array([[3, 2, 1], [3, 2, 1], [1, 5, 5], [1, 5, 5], [INF, 2, 1], [3, 2, 1]], np.float32)
    truths = right((0,), (2,), (1,), (2,), (0,), (1, 2), labels=3)
    found = metrics.ranks(scores, truths)
    # Of equals the lower place is first; what has no score is behind all; of several right ones the first counts.
    assert found.tolist() == [0, 2, 0, 1, 3, 1]
    assert [metrics.recall_at(found, k) for k in (1, 2, 3, 5)] == [2 / 6, 4 / 6, 5 / 6, 1.0]


def test_what_has_no_score_is_never_found() -> None:
    found = metrics.ranks(np.full((1, 5), INF, np.float32), right((0,), labels=5))
    assert metrics.recall_at(found, 5) == 0


def test_a_model_that_says_the_same_of_everything_has_the_recall_of_chance() -> None:
    vectors = np.ones((4, 1), np.float32)
    numbers = np.arange(4)
    found = metrics.retrieval_ranks(vectors, vectors, numbers, numbers)
    assert metrics.recall_at(found, 1) == 0.25


def test_the_mean_per_class_weighs_a_small_class_as_a_large_one() -> None:
    truths, hits = np.array([0, 0, 0, 2]), np.array([True, True, True, False])
    assert metrics.mean_per_class(truths, hits) == 0.5  # 3/3 and 0/1; class 1 does not occur


def test_the_worst_pairs_come_first_and_the_rest_in_the_order_of_the_labels() -> None:
    truths, predicted = np.array([2, 2, 2, 0, 1, 1]), np.array([0, 0, 2, 1, 0, 1])
    assert metrics.confusions(truths, predicted, 3, most=2) == [Confusion(2, 0, 2, 3), Confusion(0, 1, 1, 1)]


def test_the_calibration_error_of_two_bins() -> None:
    # (0.9, 0.95) are in bin 14, of (13/15, 14/15], and 15; 0.3 is in bin 5.
    confidences, hits = np.array([0.9, 0.92, 0.3]), np.array([True, False, True])
    # Bin 14: |(0.9 + 0.92) / 2 - 1 / 2| = 0.41, 2 of 3; bin 5: |0.3 - 1| = 0.7, 1 of 3.
    assert metrics.calibration_error(confidences, hits) == pytest.approx((2 * 0.41 + 0.7) / 3)


def test_bins_are_open_below_and_closed_above() -> None:
    # 1/15 is in the first bin with 0.01, not in the second: the two errors there cancel out in part.
    confidences, hits = np.array([1 / 15, 0.01]), np.array([False, True])
    assert metrics.calibration_error(confidences, hits) == pytest.approx(abs(1 / 15 + 0.01 - 1) / 2)
    assert metrics.calibration_error(np.array([0.0, 1.0]), np.array([False, True])) == 0


def test_the_best_temperature_is_the_one_whose_shares_are_the_shares_that_are_right() -> None:
    # Logits (2, 0), of four images three are right: softmax(2 / T) must be 3/4, so T = 2 / ln 3.
    logits, truths = np.array([[2, 0]] * 4, np.float32), np.array([0, 0, 0, 1])
    found = metrics.best_temperature(logits, truths)
    assert found == pytest.approx(2 / math.log(3), rel=1e-5)
    assert metrics.softmax(logits, found)[0] == pytest.approx([0.75, 0.25])
    assert metrics.largest_shares(logits, found) == pytest.approx([0.75] * 4)


@pytest.mark.parametrize("scale", [0.01, 100])
def test_the_best_temperature_is_found_from_afar(scale: float) -> None:
    logits, truths = scale * np.array([[2, 0]] * 4, np.float32), np.array([0, 0, 0, 1])
    assert metrics.best_temperature(logits, truths) == pytest.approx(scale * 2 / math.log(3), rel=1e-5)


def test_in_chunks_the_temperature_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * 5
    truths = np.where(np.arange(50) % 3 == 0, 0, logits.argmax(axis=1))
    whole = metrics.best_temperature(logits, truths)
    monkeypatch.setattr(metrics, "_CHUNK", 7)
    assert metrics.best_temperature(logits, truths) == pytest.approx(whole)


def test_the_average_precision_of_eleven_levels() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    hits = np.array([True, False, True, False])
    # Recall 0..0.5 has the precision 1; 0.6..1.0 has 2/3: six levels of the one, five of the other.
    assert metrics.average_precision(scores, hits) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_the_mean_average_precision_is_over_the_classes_that_occur() -> None:
    scores = np.array([[0.9, 0.1, 0.5], [0.1, 0.8, 0.4]], np.float32)
    both = np.array([[True, True, False], [False, False, False]])
    # Class 0 is right at once; class 1 second of two, 1/2 at all levels; class 2 does not occur.
    assert metrics.mean_average_precision(scores, both) == pytest.approx((1 + 0.5) / 2)
