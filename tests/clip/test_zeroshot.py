"""Scores as the reference computes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipserve.clip.manifest import ScoringSpec
from clipserve.clip.zeroshot import ZeroShotClassifier, ensemble


def unit(rows: int, seed: int) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, 16)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def classifier(labels: int, scoring: ScoringSpec) -> ZeroShotClassifier:
    return ZeroShotClassifier(tuple(map(str, range(labels))), unit(labels, 1), scoring)


@given(st.integers(1, 40), st.integers(1, 5), st.floats(0.1, 1000))
def test_softmax_is_the_textbook_s_in_double_precision(labels: int, images: int, scale: float) -> None:
    scores = classifier(labels, ScoringSpec(logit_scale=scale)).scores(unit(images, 2))
    logits = scale * unit(images, 2).astype(np.float64) @ unit(labels, 1).astype(np.float64).T
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.score, expected, rtol=0, atol=2e-6 * scale + 1e-6)
    np.testing.assert_allclose(scores.score.sum(axis=1), 1, rtol=1e-5)


def test_sigmoid_scores_each_label_alone_and_never_overflows() -> None:
    scoring = ScoringSpec(function="sigmoid", logit_scale=112.0, logit_bias=-16.0)
    together = classifier(5, scoring).scores(unit(3, 2))
    alone = ZeroShotClassifier(("x",), unit(5, 1)[:1], scoring).scores(unit(3, 2))
    np.testing.assert_allclose(together.score[:, :1], alone.score, rtol=1e-6)
    np.testing.assert_allclose(
        together.score, 1 / (1 + np.exp(-together.logit.astype(np.float64))), atol=1e-6
    )
    with np.errstate(all="raise"):
        far = ScoringSpec(function="sigmoid", logit_scale=1000.0, logit_bias=-1000.0)
        assert np.isfinite(classifier(5, far).scores(unit(3, 2)).score).all()


def test_the_logit_is_scale_times_cosine_plus_bias() -> None:
    scores = classifier(4, ScoringSpec(logit_scale=100.0, logit_bias=-3.0)).scores(unit(2, 2))
    np.testing.assert_allclose(scores.logit, 100 * scores.cosine - 3, rtol=1e-6)
    np.testing.assert_allclose(scores.cosine, unit(2, 2) @ unit(4, 1).T, rtol=1e-6)


def test_an_ensemble_is_the_unit_mean() -> None:
    vectors = unit(7, 3)
    mean = vectors.mean(axis=0)
    np.testing.assert_allclose(ensemble(vectors), mean / np.linalg.norm(mean), rtol=1e-6)
    assert ensemble(vectors[:1]) == pytest.approx(vectors[0], abs=1e-6)


def test_prompts_that_cancel_out_give_no_nan() -> None:
    vectors = unit(1, 3)
    assert np.isfinite(ensemble(np.concatenate([vectors, -vectors]))).all()
