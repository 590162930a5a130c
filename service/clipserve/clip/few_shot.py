"""Example images beside a label's prompts: one embedding of both, and how far the examples can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipserve.clip.zeroshot import FloatArray, ensemble


def with_examples(text: FloatArray, examples: FloatArray, weight: float) -> FloatArray:
    """The embedding of a label that has example images.

    It is (1 - weight) * text + weight * mean(examples), where the mean is brought to unit length first, and the
    sum after. An image is more alike to any image than to its own caption (Liang et al., "Mind the Gap"), so that
    a label with examples has higher scores than one without.

    Args:
        text: float32 [D], of the label's prompts, unit length.
        examples: float32 [E, D], rows of unit length; without any, the result is `text`.
        weight: 0..1; 1: the examples alone.

    Returns:
        float32 [D], unit length.
    """
    if not len(examples):
        return text
    joined = (1.0 - weight) * text + weight * ensemble(examples)  # [D]
    return ensemble(joined[np.newaxis])


@dataclass(frozen=True)
class Misread:
    """An example that the classifier takes for another label: `label` and `example` are its positions."""

    label: int
    example: int
    taken_for: int


@dataclass(frozen=True)
class LeaveOneOut:
    """`accuracy`: of all examples, each judged by the classifier that is made without it."""

    accuracy: float
    examples: int
    misread: tuple[Misread, ...]


def leave_one_out(
    texts: FloatArray, examples: Sequence[FloatArray], classifier: FloatArray, weight: float
) -> LeaveOneOut | None:
    """Judge each example by all labels, its own being made without it; None if there are no examples.

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
