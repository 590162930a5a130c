"""Logistic regression on vectors, as CLIP's paper judges representations (Radford et al. 2021, appendix A.3).

N images, D numbers of a vector, K classes by their places. All is computed in float64, by scikit-learn.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clipserve_models.errors import ModelsError
from clipserve_models.evaluation.metrics import Floats, Numbers

try:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
except ModuleNotFoundError:
    raise ModelsError("scikit-learn is not installed: pip install 'clipserve-models[probe]'.") from None

MAX_ITERATIONS = 1_000
# Steps of C from 1e-6 to 1e6, eight a decade; two decades apart at first, so 1e-6, 1e-4 ... 1e6.
_STEPS, _FIRST = 96, 16
# Images of a class for the choice of C beside a few shots, as in CoOp (Zhou et al. 2022).
_MOST_TO_CHOOSE_BY = 4

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

    def rows(self, vectors: Floats, classes: int) -> Floats:
        """Logits, and then the score of the first: float32 [N, classes + 1], as `Asker.logits` has them."""
        logits = vectors @ self.weights.T + self.biases  # float64 [N, k]
        rows = np.full((len(vectors), classes + 1), -np.inf, np.float32)
        rows[:, self.places] = logits
        rows[:, -1] = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
        return rows

    def predict(self, vectors: Floats) -> Numbers:
        """The position of the first class of each image, [N]."""
        return np.asarray(self.places[(vectors @ self.weights.T + self.biases).argmax(axis=1)])


@dataclass(frozen=True)
class Tried:
    """What C gives on the validation part: top-1, and the mean of -log(score of the right class)."""

    c: float
    top1: float
    loss: float


def fitted(part: Part, c: float) -> Linear:
    """`LogisticRegression(C=c)`, with L2 and lbfgs. Of two classes it has one row; each class gets half of it."""
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


def _judged(training: Part, validation: Part, c: float) -> Tried:
    model = fitted(training, c)
    logits = validation.vectors @ model.weights.T + model.biases
    top1 = float((model.places[logits.argmax(axis=1)] == validation.truths).mean())
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    right = (raised * (model.places == validation.truths[:, np.newaxis])).sum(axis=1) / raised.sum(axis=1)
    return Tried(c, top1, float(-np.log(np.maximum(right, 1e-15)).mean()))


def shuffled(truths: Numbers, rng: np.random.Generator) -> list[Numbers]:
    """The positions of the images of each class that occurs, in random order."""
    return [rng.permutation(np.flatnonzero(truths == each)) for each in np.unique(truths)]


def shares(truths: Numbers, share: float, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
    """The positions of all images in two parts, which have `1 - share` and `share` of each class, rounded."""
    second = np.concatenate([own[: round(share * len(own))] for own in shuffled(truths, rng)])
    return np.setdiff1d(np.arange(len(truths)), second), np.sort(second)


def of_few(training: Part, test: Part, shots: int, rng: np.random.Generator) -> float:
    """Top-1 on the test part, trained on `shots` images of each class. C is chosen with up to four others of each.

    Raises:
        ModelsError: no class has more than `shots` images.
    """
    own = shuffled(training.truths, rng)
    few, behind = (
        training.of(np.concatenate([each[start:end] for each in own]))
        for start, end in ((0, shots), (shots, shots + min(shots, _MOST_TO_CHOOSE_BY)))
    )
    if not len(behind.truths):
        raise ModelsError(f"no class has more than {shots} images to train on: ask for fewer shots.")
    model = fitted(few, swept(few, behind)[0].c)
    return float((model.predict(test.vectors) == test.truths).mean())
