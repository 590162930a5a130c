"""Label sets with trained weights, for the tests of them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support import DIM

LABELS = ["cat", "dog", "cow"]
WEIGHTS = np.random.default_rng(0).normal(0, 5, (len(LABELS), DIM)).astype(np.float32)
BIASES = [0.5, -2.0, 0.0]


def encoded(weights: npt.NDArray[np.floating[Any]] = WEIGHTS) -> str:
    return base64.b64encode(weights.astype("<f4").tobytes()).decode()


def trained(fingerprint: str, **changes: Any) -> dict[str, Any]:
    """The fields of a set for the model of this fingerprint."""
    fields = {"labels": LABELS, "weights": encoded(), "biases": BIASES, "expect_fingerprint": fingerprint}
    return fields | changes


def expected(vector: npt.NDArray[np.float32], temperature: float = 1.0) -> dict[str, float]:
    """The scores of an image: softmax(W x + b), in float64."""
    logit = (WEIGHTS.astype(np.float64) @ vector + BIASES) / temperature
    raised = np.exp(logit - logit.max())
    return dict(zip(LABELS, raised / raised.sum(), strict=True))
