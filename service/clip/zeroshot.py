"""The zero-shot classifier: label embeddings, and the scores they give to image embeddings. Pure arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.clip.manifest import ScoringSpec

FloatArray = npt.NDArray[np.float32]


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
    """What the model makes of cosines before its softmax or sigmoid; float32, of the same shape."""
    return np.asarray(scoring.logit_scale * cosine + scoring.logit_bias, np.float32)


@dataclass(frozen=True)
class Scores:
    """What a classifier says of N images and K labels; each float32 [N, K].

    cosine: in -1..1. logit: logit_scale * cosine + logit_bias. score: softmax over the K labels, or the
    sigmoid of each logit on its own, as the model was trained.
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

    def scores(self, embeddings: FloatArray) -> Scores:
        """Score image embeddings, float32 [N, D]."""
        cosine = embeddings @ self.label_embeddings.T  # [N, K]
        logit = logits(cosine, self.scoring)  # [N, K]
        if self.scoring.function == "sigmoid":
            # 1 / (1 + exp(-x)), written with tanh: exp(-logit) overflows for the very negative logits of SigLIP.
            score = 0.5 * (1.0 + np.tanh(0.5 * logit))
        else:
            raised = np.exp(logit - logit.max(axis=1, keepdims=True))
            score = raised / raised.sum(axis=1, keepdims=True)
        return Scores(cosine, logit, score.astype(np.float32))
