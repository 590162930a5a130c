"""The most memory that decoding an image takes, by its header.

The figures are those of Pillow 13 with libjpeg-turbo, libwebp, libpng, libavif and libtiff, and
`tests/clip/test_decode_cost.py` compares them with what the kernel has counted. They hold for `resampling` too:
it keeps no more between its passes than Pillow does, and of weights and results only those of the crop.
"""

from __future__ import annotations

from PIL import Image

# Bytes of a pixel in Pillow's memory, by mode; all others take 4, RGB too.
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
# Bytes of a pixel in the decoder and in its image together, where a decoder keeps pictures of its own. WebP: two
# canvases and a copy of one, and another copy if it has alpha. AVIF: planes of 16 bits. TIFF: a file of one strip.
# GIF: a frame, and what it is drawn on.
_DECODER_BYTES = {"WEBP": 16, "AVIF": 24, "TIFF": 16, "GIF": 8}
_WITH_ALPHA = frozenset(("LA", "PA", "RGBA", "La", "RGBa"))
_BLOCK_BYTES = 128  # 8 x 8 coefficients of 16 bits
_ROWS_AND_TABLES = 2_000_000  # buffers that do not grow with the picture


def coefficient_bytes(image: Image.Image, scans: int) -> int:
    """What libjpeg keeps of a JPEG of several scans: all coefficients, in whole blocks of each component."""
    if not scans:
        return 0
    layers = [(across, down) for _, across, down, _ in image.layer]  # type: ignore[attr-defined]
    most_across, most_down = max(layer[0] for layer in layers), max(layer[1] for layer in layers)
    across, down = -(-image.width // (8 * most_across)), -(-image.height // (8 * most_down))
    return sum(_BLOCK_BYTES * across * a * down * d for a, d in layers)


def decode_bytes(
    image: Image.Image, file_bytes: int, coefficients: int, resized: tuple[int, int], *, may_turn: bool
) -> int:
    """The peak of an image that has been opened and not loaded.

    `file_bytes`: of the file, of which some decoders make a copy. `coefficients`: see `coefficient_bytes`.
    `resized`: the size before the crop. `may_turn`: it may be turned as its EXIF orientation says, which copies it;
    so does resizing a picture with alpha.
    """
    pixels, kept = image.width * image.height, _PIXEL_BYTES.get(image.mode, 4)
    alpha = image.mode in _WITH_ALPHA
    decoder = _DECODER_BYTES.get(image.format or "", kept) + (kept if alpha else 0)
    copies = 2 if may_turn or alpha else 1
    width, height = resized
    between = max(width * image.height, height * image.width)  # resized along one side, then along the other
    resizing = kept * (copies * pixels + between + 2 * width * height)
    return file_bytes + max(decoder * pixels + coefficients, resizing) + _ROWS_AND_TABLES
