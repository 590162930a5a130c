"""The self-test: compares an engine's vectors for fixed inputs with those in the manifest.

The export computes the vectors with the original framework and writes them into the manifest. The service computes
them with its own engine before it is ready, and refuses to serve if the two differ. The inputs are computed only
from integers, so every platform has the same bytes. `reference_inputs` tests the steps before an engine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clipserve.clip.artifact import ArtifactError
from clipserve.clip.manifest import ModelManifest

REFERENCE_TEXTS = ("a photo of a cat.", "two dogs playing in the snow", "0123456789")

# The lowest allowed cosine to the original framework's vectors, by precision. Engines in fp32 differ only in the
# order of additions; lower precisions round numbers to fewer bits. GELU in place of QuickGELU gives a cosine
# below the bound of fp32 (`tests/models/test_faults.py`), but above 0.9999. The bound of fp16 is the
# first percentile that `clipserve_models.variants.gate` requires.
MIN_COSINE = {"fp32": 0.99999, "fp16": 0.9995, "bf16": 0.99, "int8": 0.97}


def reference_pixels(size: int) -> npt.NDArray[np.uint8]:
    """Return two images: a smooth gradient, and noise (Knuth's multiplicative hash of the position).

    Returns:
        uint8 [2, size, size, 3].
    """
    return np.stack(gradient_and_noise(size, size)).astype(np.uint8)  # [2, S, S, 3]


def gradient_and_noise(
    height: int, width: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:  # both [height, width, 3], 0 to 255
    """The two images of `reference_pixels`, of any shape."""
    row, column, channel = np.indices((height, width, 3), dtype=np.uint32)
    gradient = (row * (channel + 1) + column * (3 - channel)) * 255 // (5 * max(height, width))
    noise = (np.arange(height * width * 3, dtype=np.uint32) * np.uint32(2654435761)) >> np.uint32(24)
    return gradient, noise.reshape(height, width, 3)


def cosines(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The cosine of each row of [N, D] and the same row of the other: [N].

    It is NaN if a value is not finite, or if all values are 0.
    """
    with np.errstate(invalid="ignore"):  # an engine may return any values
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        return np.asarray((one * other).sum(axis=1) / norms, np.float32)


def lowest_cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The lowest of `cosines`. Compare with `not cosine >= bound`, which is also true for NaN."""
    return float(cosines(one, other).min())


def check(
    manifest: ModelManifest,
    image_embeddings: npt.NDArray[np.float32],  # [2, D], of reference_pixels
    text_embeddings: npt.NDArray[np.float32],  # [3, D], of REFERENCE_TEXTS
    precision: str | None = None,
) -> float:
    """Compare an engine's vectors with the manifest's.

    `precision`: the engine's, if it is lower than the artifact's.

    Returns:
        the lowest cosine.

    Raises:
        ArtifactError: it is below MIN_COSINE of the precision, or NaN.
    """
    bound = min(MIN_COSINE[manifest.precision], MIN_COSINE[precision or manifest.precision])
    lowest = 1.0
    for tower, actual, stored in (
        ("image", image_embeddings, manifest.reference.image_embeddings),
        ("text", text_embeddings, manifest.reference.text_embeddings),
    ):
        expected = np.asarray(stored, np.float32)  # [n, D]
        if actual.shape != expected.shape:
            raise ArtifactError(
                f"self-test of {manifest.name}: the {tower} encoder gave {actual.shape}, not {expected.shape}"
            )
        cosine = lowest_cosine(actual, expected)
        if not cosine >= bound:  # also true of NaN
            raise ArtifactError(
                f"self-test of {manifest.name}: the {tower} encoder is at cosine {cosine:.6f} to the vectors of "
                f"its export, below {bound}. The engine computes other vectors."
            )
        lowest = min(lowest, cosine)
    return lowest
