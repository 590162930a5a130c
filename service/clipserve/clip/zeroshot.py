"""The zero-shot classifier: label embeddings, and the scores they give to image embeddings. Pure arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from clipserve.clip.manifest import ScoringSpec

FloatArray = npt.NDArray[np.float32]
ScoringFunction = Literal["softmax", "sigmoid", "cosine"]
SCORING_FUNCTIONS: tuple[ScoringFunction, ...] = get_args(ScoringFunction)


def ensemble(embeddings: FloatArray) -> FloatArray:
    """The embedding of one label: the mean over its templates, of length 1 (openai/CLIP's ensembling).

    Args:
        embeddings: float32 [T, D], rows of unit length, one a template.

    Returns:
        float32 [D], unit length.
    """
    mean = embeddings.mean(axis=0)  # [D]
    # Opposite prompts can cancel out; a zero vector then scores every image alike.
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), np.float32)


def logits(cosine: FloatArray, scoring: ScoringSpec) -> FloatArray:
    """What the model makes of cosines [N, K] before softmax or sigmoid; float32 [N, K]."""
    return np.asarray(scoring.logit_scale * cosine + scoring.logit_bias, np.float32)


def probabilities(
    logit: FloatArray, function: Literal["softmax", "sigmoid"], temperature: float
) -> FloatArray:
    """Softmax over the last axis, or the sigmoid of each alone, of logit / temperature; float32, the same shape.

    The temperature is that of Guo et al., "On Calibration of Modern Neural Networks": above 1 it makes scores less
    certain, and it never changes their order.
    """
    scaled = logit.astype(np.float64) / temperature
    if function == "sigmoid":
        # 1 / (1 + exp(-x)), written with tanh: exp(-logit) overflows for the very negative logits of SigLIP.
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * scaled)), np.float32)
    raised = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float32)


@dataclass(frozen=True)
class Scores:
    """What a classifier says of N images and K labels; each float32 [N, K].

    cosine: in -1..1. logit: logit_scale * cosine + logit_bias. score: what `ZeroShotClassifier.scores` was
    asked for.
    """

    cosine: FloatArray
    logit: FloatArray
    score: FloatArray


@dataclass(frozen=True)
class ZeroShotClassifier:
    """K labels and their embeddings, with the scale and the function of the model that made them."""

    labels: tuple[str, ...]
    label_embeddings: FloatArray  # [K, D], rows of unit length
    scoring: ScoringSpec

    def scores(
        self,
        embeddings: FloatArray,
        function: ScoringFunction | None = None,
        temperature: float = 1.0,
        background: int = 0,
    ) -> Scores:
        """Score image embeddings, float32 [N, D].

        Args:
            function: the score is the softmax of logit / temperature over all labels, its sigmoid for each
                alone, or the cosine; None: as the model was trained.
            background: so many labels at the end join the softmax and have no scores themselves: K is less by them.
        """
        cosine = embeddings @ self.label_embeddings.T  # [N, K + background]
        logit = logits(cosine, self.scoring)
        function = function or self.scoring.function
        score = cosine if function == "cosine" else probabilities(logit, function, temperature)
        shown = len(self.labels) - background
        return Scores(cosine[:, :shown], logit[:, :shown], score[:, :shown])
