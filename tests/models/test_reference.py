"""The parts of the numpy forward pass, beside the formulas and libraries that they stand for.

The whole of it is compared with PyTorch in tests/external/export.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ImageSpec
from clipserve.clip.reference_inputs import MAX_PIXEL_DIFFERENCE, reference_photo
from clipserve_models import reference
from tests.models.towers import CLIP, CLIP_TEXT, MEAN, STD, random_tensors


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("size", [32, 50, 224])
def test_pillow_and_the_service_make_the_same_pixels(size: int, resize: str, interpolation: str) -> None:
    spec = ImageSpec.model_validate({"size": size, "resize": resize, "interpolation": interpolation})
    photo = reference_photo(size)
    pixels = reference.preprocessed(Image.open(io.BytesIO(photo)), spec).astype(int)
    assert np.abs(pixels - decode_pixels(photo, spec, ImageLimits())).max() <= MAX_PIXEL_DIFFERENCE


def test_a_causal_encoder_does_not_see_what_follows_the_end_of_a_text() -> None:
    ids = np.random.default_rng(0).integers(0, 600, (1, 77), np.int32)
    other = np.where(np.arange(77) < 9, ids, 0).astype(np.int32)
    lengths = np.array([9], np.int32)
    tensors = random_tensors(CLIP)
    one, same = (reference.encode_texts(CLIP, tensors, each, lengths) for each in (ids, other))
    assert np.array_equal(one, same)
    seeing = replace(CLIP, text=replace(CLIP_TEXT, causal=False))
    one, same = (reference.encode_texts(seeing, tensors, each, lengths) for each in (ids, other))
    assert not np.allclose(one, same, atol=1e-3)


def test_the_order_of_patches_counts() -> None:
    tensors = random_tensors(CLIP)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    one, other = (
        reference.encode_images(CLIP, tensors, each, MEAN, STD) for each in (pixels, pixels.swapaxes(1, 2))
    )
    assert np.linalg.norm(one) == pytest.approx(1)
    assert not np.allclose(one, other, atol=1e-3)


def test_gelu_is_x_times_the_normal_distribution_s_integral() -> None:
    x = np.linspace(-6, 6, 1_001, dtype=np.float32)
    exact = [value / 2 * (1 + math.erf(value / math.sqrt(2))) for value in x.tolist()]
    assert np.abs(reference.gelu(x) - exact).max() < 2e-6
