"""Fixed inputs, and the comparison of an engine's vectors for them with those in the manifest.

Export runs them through the original framework and writes the vectors into the manifest; the service runs them
through its own engine before it is ready, and refuses to serve when the two disagree. They are computed from
integers alone, so that every platform has the same bytes. `reference_inputs` has what comes before an engine.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clipserve.clip.artifact import ArtifactError
from clipserve.clip.manifest import ModelManifest

REFERENCE_TEXTS = ("a photo of a cat.", "two dogs playing in the snow", "0123456789")

# By precision: the lowest cosine to the original framework's vectors at which an engine still computes the same
# model. Engines in fp32 differ only in the order of additions; in the others, numbers are rounded to fewer bits.
# GELU in place of QuickGELU is below that of fp32 (`tests/external/export/test_sabotage.py`), and was above 0.9999.
# That of fp16 is the first percentile that the maker of a variant asks for (`clipserve_models.variants.gate`).
MIN_COSINE = {"fp32": 0.99999, "fp16": 0.9995, "bf16": 0.99, "int8": 0.97}


def reference_pixels(size: int) -> npt.NDArray[np.uint8]:
    """Two images: a smooth gradient and noise (Knuth's multiplicative hash of the position).

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
    """The cosine of each row of [N, D] to the same row of the other: [N].

    It is NaN where a value is not finite, or where all are 0.
    """
    with np.errstate(invalid="ignore"):  # an engine may answer anything
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        return np.asarray((one * other).sum(axis=1) / norms, np.float32)


def lowest_cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The lowest of `cosines`. Compare it by `not cosine >= bound`, which is also true for NaN."""
    return float(cosines(one, other).min())


def check(
    manifest: ModelManifest,
    image_embeddings: npt.NDArray[np.float32],  # [2, D], of reference_pixels
    text_embeddings: npt.NDArray[np.float32],  # [3, D], of REFERENCE_TEXTS
    precision: str | None = None,
) -> float:
    """Compare an engine's vectors with the manifest's.

    `precision`: that of the engine, where it is narrower than the artifact's.

    Returns:
        the lowest cosine found.

    Raises:
        ArtifactError: it is below MIN_COSINE of the precision, or not a number.
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
                f"its export, below {bound}. The engine computes something else."
            )
        lowest = min(lowest, cosine)
    return lowest
