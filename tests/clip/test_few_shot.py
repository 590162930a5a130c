"""A label's embedding with examples."""

from __future__ import annotations

import numpy as np
import pytest

from clipserve.clip.few_shot import with_examples
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
