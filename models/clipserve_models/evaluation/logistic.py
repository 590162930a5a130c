"""Logistic regression on vectors, as CLIP's paper judges representations (Radford et al. 2021, appendix A.3).

N images, D numbers of a vector, K classes by their places. All is computed in float64, by scikit-learn.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.figures import Floats, Numbers

if TYPE_CHECKING:  # it takes seconds
    from sklearn.linear_model import LogisticRegression

MAX_ITERATIONS = 1_000
# Steps of C from 1e-6 to 1e6, eight a decade; two decades apart at first, so 1e-6, 1e-4 ... 1e6.
_STEPS, _FIRST = 96, 16


@dataclass(frozen=True)
class Part:
    """Images: `vectors`, float32 [N, D], and `truths`, [N]."""

    vectors: Floats
    truths: Numbers

    def of(self, places: Numbers) -> Part:
        return Part(self.vectors[places], self.truths[places])


def check_installed() -> None:
    """Raises ModelsError: scikit-learn is not there."""
    if find_spec("sklearn") is None:
        raise ModelsError("scikit-learn is not installed: pip install 'clipserve-models[probe]'.")


def fitted(part: Part, c: float) -> LogisticRegression:
    """`LogisticRegression(C=c)`, with L2 and lbfgs, of the classes that occur in `part`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the report says it
        model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS)
        return model.fit(part.vectors.astype(np.float64), part.truths)


def rows_of(model: LogisticRegression) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weights [k, D] and biases [k] of the k classes. Of two, scikit-learn has one row; each gets half of it."""
    weights, biases = model.coef_, model.intercept_
    if len(weights) == 1:
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    return weights, biases


def swept(training: Part, validation: Part) -> list[tuple[float, float, float]]:
    """The values of C that were tried, the best first, each with top-1 and log loss on the validation part.

    The paper's search: seven values two decades apart; then those half as far from the best one, and so on down to
    an eighth of a decade. The paper does not order values with the same top-1; here the one with the least loss is
    the best, because its scores fit too.
    """
    tried: dict[int, tuple[float, float, float]] = {}

    def rank(step: int) -> tuple[float, float]:
        return -tried[step][1], tried[step][2]

    steps, apart = [*range(0, _STEPS + 1, _FIRST)], _FIRST
    while apart:
        for step in steps:
            if 0 <= step <= _STEPS and step not in tried:
                tried[step] = _judged(training, validation, float(10 ** (step / 8 - 6)))
        apart //= 2
        best = min(tried, key=rank)
        steps = [best - apart, best + apart]
    return [tried[step] for step in sorted(tried, key=rank)]


def shares(truths: Numbers, share: float, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """The positions of all images in two parts, which have `1 - share` and `share` of each class, rounded."""
    shuffled = [rng.permutation(np.flatnonzero(truths == each)) for each in np.unique(truths)]
    second = np.concatenate([own[: round(share * len(own))] for own in shuffled])
    return np.setdiff1d(np.arange(len(truths)), second), np.sort(second)


def _judged(training: Part, validation: Part, c: float) -> tuple[float, float, float]:
    model = fitted(training, c)
    scores = model.predict_proba(validation.vectors.astype(np.float64))  # [N, k]
    top1 = float((model.classes_[scores.argmax(axis=1)] == validation.truths).mean())
    right = (scores * (model.classes_ == validation.truths[:, np.newaxis])).sum(axis=1)
    return c, top1, float(-np.log(np.maximum(right, 1e-15)).mean())
