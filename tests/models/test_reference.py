"""The pixels of the numpy forward pass; the rest of it is compared with PyTorch in tests/external/export."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ImageSpec
from clipserve.clip.reference_inputs import MAX_PIXEL_DIFFERENCE, reference_photo
from clipserve_models import reference


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("size", [32, 50, 224])
def test_pillow_and_the_service_make_the_same_pixels(size: int, resize: str, interpolation: str) -> None:
    spec = ImageSpec.model_validate({"size": size, "resize": resize, "interpolation": interpolation})
    photo = reference_photo(size)
    pixels = reference.preprocessed(Image.open(io.BytesIO(photo)), spec).astype(int)
    assert np.abs(pixels - decode_pixels(photo, spec, ImageLimits())).max() <= MAX_PIXEL_DIFFERENCE
