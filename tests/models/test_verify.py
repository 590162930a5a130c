"""How far a graph is from what its original computed."""

from __future__ import annotations

import numpy as np
import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.clip.reference import reference_pixels
from clipserve.demo import FOLDER as DEMO
from clipserve_models.verify import Case, compare

MANIFEST = read_manifest(DEMO)
PIXELS = {"pixels": reference_pixels(MANIFEST.image.size)}
STORED = np.array(MANIFEST.reference.image_embeddings, np.float32)  # [2, D]


@pytest.mark.parametrize(
    ("expected", "cosine", "good"), [(STORED, 1, True), (2 * STORED, 1, False), (STORED[::-1], 0.14, False)]
)
def test_a_cosine_is_that_of_the_directions_and_a_wrong_length_is_still_wrong(
    expected: np.ndarray, cosine: float, good: bool
) -> None:
    (outcome,) = compare(DEMO, [Case("the reference images", "image.onnx", PIXELS, expected)])
    assert outcome.cosine == pytest.approx(cosine, abs=0.01)
    assert outcome.good is good
    assert str(outcome).endswith("ok" if good else "WRONG")
