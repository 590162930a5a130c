"""Compares the pixels of a file and the token ids of strings with those in the manifest.

This finds faults of preprocessing that `clipserve.clip.reference` may miss with random weights, a wide bound or
short texts.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipserve.clip.artifact import ArtifactError
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import REFERENCE_TEXTS, gradient_and_noise
from clipserve.clip.tokenizer import Tokenizer

# Among them an empty text, a text that is too long, special tokens, capitals, entities, other scripts.
TOKEN_TEXTS = (
    *REFERENCE_TEXTS,
    "",
    "cat " * 200,
    "a<end_of_text>!",
    "It'S  4 O&amp;#39;CLOCK",
    "na\u00efve \u732b \U0001f408",
)

# Another processor may round a pixel differently, once along each side. A fault changes some by ten and more.
MAX_PIXEL_DIFFERENCE = 2


def reference_photo(size: int) -> bytes:
    """A PNG whose preprocessed pixels depend on each step of the preprocessing for `size`.

    It is noise on a gradient, wider than high, and larger than `size` on both sides.
    """
    gradient, noise = gradient_and_noise(3 * size // 2 + 5, 2 * size + 11)
    file = io.BytesIO()
    Image.fromarray(((gradient + noise) // 2).astype(np.uint8)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def sample(pixels: npt.NDArray[np.uint8]) -> list[int]:
    """R, G, B of 64 pixels of [S, S, 3], in eight rows, as the manifest stores the photo."""
    at = np.arange(1, 16, 2) * len(pixels) // 16
    sampled: list[int] = pixels[np.ix_(at, at)].ravel().tolist()
    return sampled


def digest(token_ids: npt.NDArray[np.integer]) -> str:
    """SHA-256 of ids [n, context length], as the manifest stores the texts."""
    return hashlib.sha256(token_ids.astype("<i4").tobytes()).hexdigest()


def check_inputs(manifest: ModelManifest, tokenizer: Tokenizer) -> None:
    """Compare the pixels of the photo and the ids of the texts with the export's.

    Raises:
        ArtifactError: they differ.
    """
    image, text, stored = manifest.image, manifest.text, manifest.reference
    if stored.pixels is not None:
        pixels = sample(decode_pixels(reference_photo(image.size), image, ImageLimits()))
        difference = max(abs(own - other) for own, other in zip(pixels, stored.pixels, strict=True))
        if difference > MAX_PIXEL_DIFFERENCE:
            raise ArtifactError(
                f"self-test of {manifest.name}: a photo becomes other pixels than at its export: they differ by "
                f"{difference} of 255, more than {MAX_PIXEL_DIFFERENCE}. Either `image` in model.json was changed "
                f"(it says {image.resize}, {image.interpolation}), or Pillow resizes otherwise here: export the "
                "model again."
            )
    if stored.token_ids is not None:
        token_ids, _ = tokenizer.pad(tokenizer.encode(TOKEN_TEXTS, truncate=True), text.context_length)
        if digest(token_ids) != stored.token_ids:
            raise ArtifactError(
                f"self-test of {manifest.name}: texts become other tokens than at its export. Either `text` in "
                f"model.json or tokenizer.json was changed (it says context_length {text.context_length}, eot_id "
                f"{text.eot_id}, pad_id {text.pad_id}, cleaning {text.cleaning}), or the tokenizers library gives "
                "others here: export the model again."
            )
