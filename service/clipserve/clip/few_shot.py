"""Combines a label's prompts with example images, and measures how well the examples are classified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipserve.clip.zeroshot import FloatArray, ensemble


def with_examples(text: FloatArray, examples: FloatArray, weight: float) -> FloatArray:
    """The embedding of a label that has example images.

    It is (1 - weight) * text + weight * mean(examples), with the mean and then the sum scaled to unit length. An
    image is more similar to any image than to its own caption (Liang et al., "Mind the Gap"), so a label with
    examples has higher scores than one without.

    Args:
        text: float32 [D], of the label's prompts, unit length.
        examples: float32 [E, D], rows of unit length; if empty, the result is `text`.
        weight: 0..1; 1: only the examples.

    Returns:
        float32 [D], unit length.
    """
    if not len(examples):
        return text
    joined = (1.0 - weight) * text + weight * ensemble(examples)  # [D]
    return ensemble(joined[np.newaxis])


@dataclass(frozen=True)
class Misread:
    """An example that gets another label. `label` and `example` are its positions."""

    label: int
    example: int
    taken_for: int


@dataclass(frozen=True)
class LeaveOneOut:
    """Leave-one-out: `accuracy` is over all examples, each classified without itself."""

    accuracy: float
    examples: int
    misread: tuple[Misread, ...]


def leave_one_out(
    texts: FloatArray, examples: Sequence[FloatArray], classifier: FloatArray, weight: float
) -> LeaveOneOut | None:
    """Classify each example among all labels, its own label built without it; None if there are no examples.

    Args:
        texts: float32 [K, D], of the labels' prompts.
        examples: of each label, float32 [E_k, D].
        classifier: float32 [K + background, D], made with all examples.
    """
    misread = []
    for k, own in enumerate(examples):
        cosines = own @ classifier.T  # [E_k, K + background]
        for i, example in enumerate(own):
            without = with_examples(texts[k], np.delete(own, i, axis=0), weight)
            cosines[i, k] = example @ without
            if (taken_for := int(np.argmax(cosines[i]))) != k:
                misread.append(Misread(k, i, taken_for))
    count = sum(map(len, examples))
    return LeaveOneOut(1.0 - len(misread) / count, count, tuple(misread)) if count else None
