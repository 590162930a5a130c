"""A label's embedding with examples, and the examples judged one by one."""

from __future__ import annotations

import numpy as np
import pytest

from clipserve.clip.few_shot import Misread, leave_one_out, with_examples
from clipserve.clip.zeroshot import FloatArray

X, Y, Z = np.eye(3, dtype=np.float32)
NONE = np.zeros((0, 3), np.float32)


def unit(*vectors: FloatArray) -> FloatArray:
    rows = np.stack(vectors)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_without_examples_a_label_is_its_prompts() -> None:
    np.testing.assert_array_equal(with_examples(X, NONE, 0.5), X)


@pytest.mark.parametrize(
    ("weight", "expected"), [(0.0, X), (1.0, Y), (0.5, unit(X + Y)[0]), (0.25, unit(3 * X + Y)[0])]
)
def test_the_weight_is_the_share_of_the_examples(weight: float, expected: FloatArray) -> None:
    np.testing.assert_allclose(with_examples(X, np.stack([Y, Y]), weight), expected, atol=1e-6)


def test_the_mean_of_examples_is_brought_to_unit_length_before_it_is_weighed() -> None:
    examples = unit(Y + Z, Y - Z)  # their mean points at Y and is shorter than 1
    np.testing.assert_allclose(with_examples(X, examples, 0.5), unit(X + Y)[0], atol=1e-6)


def test_each_example_is_judged_without_itself() -> None:
    # Label 0 is X by its prompts, and has one example that is Y: with it, it would look like Y as much as label 1.
    texts = np.stack([X, Y])
    examples = [np.stack([Y]), NONE]
    classifier = np.stack([with_examples(X, examples[0], 1.0), Y])
    np.testing.assert_array_equal(classifier[0], Y)
    judged = leave_one_out(texts, examples, classifier, 1.0)
    assert judged is not None
    assert (judged.accuracy, judged.misread) == (0.0, (Misread(0, 0, 1),))


def test_an_example_that_is_of_another_label_is_seen() -> None:
    texts = np.stack([X, Y])
    good, bad = unit(X + 0.1 * Z, X - 0.1 * Z, X), Y
    examples = [np.stack([*good, bad]), unit(Y, Y + 0.1 * Z)]
    classifier = np.stack([with_examples(t, e, 0.5) for t, e in zip(texts, examples, strict=True)])
    judged = leave_one_out(texts, examples, classifier, 0.5)
    assert judged is not None
    assert judged.misread == (Misread(0, 3, 1),)
    assert judged.accuracy == pytest.approx(5 / 6)
    assert judged.examples == 6


def test_an_example_may_be_taken_for_the_background() -> None:
    judged = leave_one_out(np.stack([X, Z]), [np.stack([Z])], np.stack([X, Z]), 0.0)
    assert judged is not None
    assert judged.misread == (Misread(0, 0, 1),)


def test_without_examples_there_is_nothing_to_judge() -> None:
    assert leave_one_out(np.stack([X, Y]), [NONE, NONE], np.stack([X, Y]), 0.5) is None
