"""Computes the figures of a report from answers and right labels, as plain values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clipserve_models.evaluation import metrics
from clipserve_models.evaluation.items import Item
from clipserve_models.evaluation.metrics import Flags, Floats, Numbers

_SHOWN = 10  # pairs, and images
_RECALLS = (1, 5, 10)

Figures = dict[str, Any]


def of_labels(
    items: Sequence[Item], rows: Floats, places: Sequence[Sequence[int]], labels: Sequence[str]
) -> Figures:
    """The figures of N images that were classified among K labels.

    Args:
        rows: float32 [N, K + 1], see `Asker.logits`.
        places: the positions of the right labels of each image.
    """
    logits, scores = rows[:, :-1], rows[:, -1]
    right = np.zeros(logits.shape, np.bool_)
    for row, own in zip(right, places, strict=True):
        row[list(own)] = True
    found = metrics.ranks(logits, right)
    hits, predicted = found == 0, logits.argmax(axis=1)
    truths = np.array([own[0] for own in places], np.intp)
    figures: Figures = {
        "images": len(items),
        "classes": len(labels),
        "classes_that_occur": int(right.any(axis=0).sum()),
        "top1": rounded(metrics.recall_at(found, 1)),
    }
    if len(labels) > 5:
        figures["top5"] = rounded(metrics.recall_at(found, 5))
    if (right.sum(axis=1) > 1).any():
        return figures | {"mean_average_precision": rounded(metrics.mean_average_precision(logits, right))}
    figures["mean_per_class"] = rounded(metrics.mean_per_class(truths, hits))
    figures["calibration"] = _calibration(logits, scores, truths, hits)
    figures["confusions"] = _confusions(
        truths, np.where(np.isneginf(logits.max(axis=1)), -1, predicted), labels
    )
    figures["surest_mistakes"] = _mistakes(items, scores, truths, predicted, hits, labels)
    return figures


def of_captions(rows: Floats, captions: Sequence[int]) -> Figures:
    """The recall of captions by images, and of images by captions.

    Args:
        rows: float32 [N + M, D], the vectors of N images and then of M captions.
        captions: how many each image has, [N].
    """
    images, texts = rows[: len(captions)], rows[len(captions) :]
    numbers = np.arange(len(images))
    owners = np.repeat(numbers, captions)
    to_text = metrics.retrieval_ranks(images, texts, owners, numbers)
    to_image = metrics.retrieval_ranks(texts, images, numbers, owners)
    both = (metrics.recall_at(to_text, 1) + metrics.recall_at(to_image, 1)) / 2
    return {
        "images": len(images),
        "captions": len(texts),
        "captions_of_an_image": {f"recall_at_{k}": rounded(metrics.recall_at(to_text, k)) for k in _RECALLS},
        "image_of_a_caption": {f"recall_at_{k}": rounded(metrics.recall_at(to_image, k)) for k in _RECALLS},
        "mean_recall_at_1": rounded(both),
    }


def _calibration(logits: Floats, scores: Floats, truths: Numbers, hits: Flags) -> Figures | None:
    """None: labels were left out, or scores are not shares."""
    if not (np.isfinite(logits).all() and np.isfinite(scores).all()):
        return None
    temperature = metrics.best_temperature(logits, truths)
    then = metrics.largest_shares(logits, temperature)
    return {
        "mean_score": rounded(float(scores.mean(dtype=np.float64))),
        "error": rounded(metrics.calibration_error(scores, hits)),
        "best_temperature": round(temperature, 4),
        "error_at_best_temperature": rounded(metrics.calibration_error(then, hits)),
    }


def _confusions(truths: Numbers, predicted: Numbers, labels: Sequence[str]) -> list[Figures]:
    pairs = metrics.confusions(truths, predicted, len(labels), _SHOWN)
    return [
        {
            "truth": labels[pair.truth],
            "predicted": labels[pair.predicted],
            "times": pair.times,
            "of": pair.images,
        }
        for pair in pairs
    ]


def _mistakes(
    items: Sequence[Item],
    scores: Floats,
    truths: Numbers,
    predicted: Numbers,
    hits: Flags,
    labels: Sequence[str],
) -> list[Figures]:
    wrong = np.flatnonzero(~hits & np.isfinite(scores))
    worst = wrong[np.argsort(-scores[wrong], kind="stable")[:_SHOWN]]
    return [
        {
            "item": items[row].id,
            "truth": labels[truths[row]],
            "predicted": labels[predicted[row]],
            "score": round(float(scores[row]), 4),
        }
        for row in worst
    ]


def rounded(value: float | np.floating[Any]) -> float:
    """A share or a cosine to the millionth: the last bits of a vector depend on its batch, a report must not."""
    return round(float(value), 6)
