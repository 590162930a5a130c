"""Logistic regression on vectors, as CLIP's paper judges representations (Radford et al. 2021, appendix A.3).

N images, D numbers of a vector, K classes by their places. All is computed in float64, by scikit-learn.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.figures import Floats, Numbers

MAX_ITERATIONS = 1_000
# Steps of C from 1e-6 to 1e6, eight a decade; two decades apart at first, so 1e-6, 1e-4 ... 1e6.
_STEPS, _FIRST = 96, 16
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Images: `vectors`, float32 [N, D], and `truths`, [N]."""

    vectors: Floats
    truths: Numbers

    def of(self, places: Numbers) -> Part:
        return Part(self.vectors[places], self.truths[places])


@dataclass(frozen=True)
class Linear:
    """A fitted classifier of k of the K classes: logits = vector @ weights.T + biases, then a softmax.

    Attributes:
        places: [k], of the classes that were in the training part.
        weights: float64 [k, D]; biases: float64 [k].
        converged: whether the fit ended before MAX_ITERATIONS.
    """

    places: Numbers
    weights: Doubles
    biases: Doubles
    converged: bool

    def logits(self, vectors: Floats) -> Doubles:
        """float64 [N, k]."""
        return np.asarray(vectors @ self.weights.T + self.biases)


@dataclass(frozen=True)
class Tried:
    """What C gives on the validation part: top-1, and the mean of -log(score of the right class)."""

    c: float
    top1: float
    loss: float


def check_installed() -> None:
    """Raises ModelsError: scikit-learn is not there."""
    if find_spec("sklearn") is None:
        raise ModelsError("scikit-learn is not installed: pip install 'clipserve-models[probe]'.")


def fitted(part: Part, c: float) -> Linear:
    """`LogisticRegression(C=c)`, with L2 and lbfgs. Of two classes it has one row; each class gets half of it."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` reports it
        model.fit(part.vectors.astype(np.float64), part.truths)
    weights, biases = model.coef_, model.intercept_
    if len(weights) == 1:
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    return Linear(model.classes_, weights, biases, bool(model.n_iter_.max() < MAX_ITERATIONS))


def swept(training: Part, validation: Part) -> list[Tried]:
    """The values of C that were tried, the best first.

    The paper's search: seven values two decades apart; then those half as far from the best one, and so on down to
    an eighth of a decade. The paper does not order values with the same top-1; here the one with the least loss is
    the best, because its scores fit too.
    """
    tried: dict[int, Tried] = {}

    def rank(step: int) -> tuple[float, float]:
        return -tried[step].top1, tried[step].loss

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


def _judged(training: Part, validation: Part, c: float) -> Tried:
    model = fitted(training, c)
    logits = model.logits(validation.vectors)
    top1 = float((model.places[logits.argmax(axis=1)] == validation.truths).mean())
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    right = (raised * (model.places == validation.truths[:, np.newaxis])).sum(axis=1) / raised.sum(axis=1)
    return Tried(c, top1, float(-np.log(np.maximum(right, 1e-15)).mean()))
