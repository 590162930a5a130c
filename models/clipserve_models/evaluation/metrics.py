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
_HALVINGS = 30  # of the range in which the best temperature is sought, 2 ** -10 to 2 ** 10


class Confusion(NamedTuple):
    """`times` of the `images` of class `truth` are `predicted` as another. Classes are places in the labels."""

    truth: int
    predicted: int
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


def confusions(truths: Numbers, predicted: Numbers, labels: int, most: int) -> list[Confusion]:
    """The pairs of classes that are taken for each other most often: at most `most`, the worst first.

    `predicted`: [N]; -1: nothing was, which is no pair.
    """
    wrong = (truths != predicted) & (predicted >= 0)
    pairs, counts = np.unique(truths[wrong] * labels + predicted[wrong], return_counts=True)
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


def largest_shares(logits: Floats, temperature: float) -> Floats:
    """The softmax of the first label of each image, float32 [N]; without an array of float64 [N, K]."""
    return np.asarray(
        1 / np.exp((logits - logits.max(axis=1, keepdims=True)) / np.float32(temperature)).sum(axis=1)
    )


def best_temperature(logits: Floats, truths: Numbers) -> float:
    """The temperature, 1/1024 to 1024, whose softmax makes the right labels most likely (Guo et al. 2017).

    The likelihood is concave in 1 / temperature: its slope tells on which side the top is.
    """
    low, high = -10.0, 10.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _slope(logits, truths, 2**-middle) > 0 else (low, middle)
    return float(2 ** -((low + high) / 2))


def _slope(logits: Floats, truths: Numbers, temperature: float) -> float:
    """Of the log likelihood, by 1 / temperature: the logits of the right labels less those that are expected."""
    slope = 0.0
    for start in range(0, len(logits), _CHUNK):
        some, right = logits[start : start + _CHUNK], truths[start : start + _CHUNK, np.newaxis]
        slope += float(np.take_along_axis(some, right, axis=1).sum(dtype=np.float64))
        slope -= float((softmax(some, temperature) * some).sum())
    return slope


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
