"""Combines a label's prompts with example images."""

from __future__ import annotations

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
