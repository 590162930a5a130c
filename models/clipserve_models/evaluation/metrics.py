"""What is counted: pure functions of arrays. A share is 0..1; N images or texts, K labels or other items."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

_BINS = 15  # of confidence, as in Guo et al. 2017, "On Calibration of Modern Neural Networks"
_LEVELS = 11  # of recall, as in the VOC challenge of 2007
_CHUNK = 1_000  # rows at a time, so that memory stays small
_NEWTON_STEPS = 50
_FLAT = 1e-30  # a curvature that is none: where one label has all of the share


class Confusion(NamedTuple):
    """`times` images of class `truth`, of its `images`, have `said` first. Classes are places in the labels."""

    truth: int
    said: int
    times: int
    images: int


def ranks(scores: Floats, right: Flags) -> Numbers:
    """How many come before the first right one, [N]; K where no right one has a score.

    Of equal scores the one with the lower place comes first.

    Args:
        scores: float32 [N, K]; -inf where there is none.
        right: bool [N, K].
    """
    among = np.where(right, scores, -np.inf)
    at = among.argmax(axis=1)[:, np.newaxis]
    best = np.take_along_axis(among, at, axis=1)
    before = (scores > best) | ((scores == best) & (np.arange(scores.shape[1]) < at))
    return np.asarray(np.where(np.isneginf(best[:, 0]), scores.shape[1], before.sum(axis=1)), np.intp)


def recall_at(found: Numbers, k: int) -> float:
    """The share of `ranks` below k: top-k accuracy, and recall@k of captions."""
    return float((found < k).mean())


def mean_per_class(truths: Numbers, hits: Flags) -> float:
    """The mean over the classes that occur of the share of their images that are right. `truths`, `hits`: [N]."""
    count = np.bincount(truths)
    there = count > 0
    return float((np.bincount(truths, hits)[there] / count[there]).mean())


def confusions(truths: Numbers, said: Numbers, labels: int, most: int) -> list[Confusion]:
    """The pairs of classes that are taken for each other most often: at most `most`, the worst first."""
    wrong = truths != said
    pairs, counts = np.unique(truths[wrong] * labels + said[wrong], return_counts=True)
    images = np.bincount(truths, minlength=labels)
    worst = np.argsort(-counts, kind="stable")[:most]
    split = ((*divmod(int(pairs[i]), labels), int(counts[i])) for i in worst)
    return [Confusion(truth, other, count, int(images[truth])) for truth, other, count in split]


def calibration_error(confidences: npt.NDArray[np.floating], hits: Flags) -> float:
    """ECE: the mean distance of confidence to the share that is right, over 15 bins of (0, 1], weighted by images.

    `confidences`: [N], the score of the label that is first; `hits`: [N], whether it is right.
    """
    bins = np.clip(np.ceil(confidences * _BINS), 1, _BINS).astype(np.intp)
    gaps = np.bincount(bins, confidences - hits)
    return float(np.abs(gaps).sum() / len(hits))


def softmax(logits: Floats, temperature: float) -> npt.NDArray[np.float64]:
    """Of logits / temperature, float64 [N, K]."""
    scaled = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64) / temperature
    raised = np.exp(scaled)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def best_temperature(logits: Floats, truths: Numbers) -> float:
    """The temperature whose softmax makes the right labels most likely (Guo et al. 2017).

    Where wrong labels are as likely as right ones it is very large, and where all are right very small.

    The likelihood is concave in 1 / temperature, so Newton's method finds its top; no step goes further than to
    half or twice.
    """
    inverse = 1.0
    for _ in range(_NEWTON_STEPS):
        slope, curvature = _slopes(logits, truths, inverse)
        step = inverse + slope / max(curvature, _FLAT)
        before, inverse = inverse, float(np.clip(step, inverse / 2, inverse * 2))
        if abs(inverse - before) < 1e-6 * before:
            break
    return 1 / inverse


def _slopes(logits: Floats, truths: Numbers, inverse: float) -> tuple[float, float]:
    """The mean log likelihood's first derivative by 1 / temperature, and the negative of its second."""
    slope = curvature = 0.0
    for start in range(0, len(logits), _CHUNK):
        some = logits[start : start + _CHUNK].astype(np.float64)
        shares = softmax(logits[start : start + _CHUNK], 1 / inverse)
        means = (shares * some).sum(axis=1)
        slope += float((some[np.arange(len(some)), truths[start : start + _CHUNK]] - means).sum())
        curvature += float((shares * (some - means[:, np.newaxis]) ** 2).sum())
    return slope / len(logits), curvature / len(logits)


def average_precision(scores: Floats, right: Flags) -> float:
    """Interpolated over 11 levels of recall, as in the VOC challenge of 2007 (Everingham et al. 2010, section 4.2).

    Args:
        scores: float32 [N], of one class.
        right: bool [N], the images that show it, at least one.
    """
    hits = right[np.argsort(-scores, kind="stable")]
    found = np.cumsum(hits)
    precision, recall = found / np.arange(1, len(hits) + 1), found / found[-1]
    levels = np.linspace(0, 1, _LEVELS)
    return float(np.mean([precision[recall >= level - 1e-9].max() for level in levels]))


def mean_average_precision(scores: Floats, right: Flags) -> float:
    """Over the classes that occur. `scores`: float32 [N, K]; `right`: bool [N, K]."""
    there = np.flatnonzero(right.any(axis=0))
    return float(np.mean([average_precision(scores[:, place], right[:, place]) for place in there]))


def retrieval_ranks(queries: Floats, others: Floats, owners: Numbers, wanted: Numbers) -> Numbers:
    """Of each query how many others come before its first right one, [N].

    Args:
        queries: float32 [N, D], and `others`: float32 [M, D], of unit length.
        wanted: [N], and `owners`: [M]: which belong together.
    """
    parts = [
        ranks(
            queries[start : start + _CHUNK] @ others.T, wanted[start : start + _CHUNK, np.newaxis] == owners
        )
        for start in range(0, len(queries), _CHUNK)
    ]
    return np.concatenate(parts)
