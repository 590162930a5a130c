"""The figures of a report. A share is 0..1; N images or texts, K labels or other items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Figures = dict[str, Any]

_CHUNK = 1_000  # rows at a time, so that memory stays small
_RECALLS = (1, 5, 10)


def of_labels(logits: Floats, places: Sequence[Sequence[int]]) -> Figures:
    """The figures of N images that were classified among K labels.

    Args:
        logits: float32 [N, K]; -inf where a label was left out.
        places: the positions of the right labels of each image.
    """
    right = np.zeros(logits.shape, np.bool_)
    for row, own in zip(right, places, strict=True):
        row[list(own)] = True
    found = ranks(logits, right)
    figures: Figures = {
        "images": len(logits),
        "classes": logits.shape[1],
        "classes_that_occur": int(right.any(axis=0).sum()),
        "top1": rounded(recall_at(found, 1)),
    }
    if logits.shape[1] > 5:
        figures["top5"] = rounded(recall_at(found, 5))
    if (right.sum(axis=1) > 1).any():  # an image of several classes counts for none of them alone
        return figures
    truths = np.array([own[0] for own in places], np.intp)
    return figures | {"mean_per_class": rounded(mean_per_class(truths, found == 0))}


def of_captions(images: Floats, texts: Floats, captions: Sequence[int]) -> Figures:
    """The recall of captions by images, and of images by captions.

    Args:
        images: the vectors of N images, float32 [N, D]; texts: those of their captions, [M, D].
        captions: how many each image has, [N].
    """
    numbers = np.arange(len(images))
    owners = np.repeat(numbers, captions)
    to_text = retrieval_ranks(images, texts, owners, numbers)
    to_image = retrieval_ranks(texts, images, numbers, owners)
    return {
        "images": len(images),
        "captions": len(texts),
        "captions_of_an_image": {f"recall_at_{k}": rounded(recall_at(to_text, k)) for k in _RECALLS},
        "image_of_a_caption": {f"recall_at_{k}": rounded(recall_at(to_image, k)) for k in _RECALLS},
        "mean_recall_at_1": rounded((recall_at(to_text, 1) + recall_at(to_image, 1)) / 2),
    }


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


def retrieval_ranks(queries: Floats, others: Floats, owners: Numbers, wanted: Numbers) -> Numbers:
    """Of each query how many others come before its first right one, [N].

    Args:
        queries: float32 [N, D], and `others`: float32 [M, D], of unit length.
        wanted: [N], and `owners`: [M]: which belong together.
    """
    starts = range(0, len(queries), _CHUNK)
    rows = [slice(start, start + _CHUNK) for start in starts]
    parts = [ranks(queries[some] @ others.T, wanted[some, np.newaxis] == owners) for some in rows]
    return np.concatenate(parts)


def rounded(value: float | np.floating[Any]) -> float:
    """A share or a cosine to the millionth: the last bits of a vector depend on its batch, a report must not."""
    return round(float(value), 6)
