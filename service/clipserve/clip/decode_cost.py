"""Computes an upper bound for the memory of decoding an image, from its header.

The figures are those of Pillow 13 with libjpeg-turbo, libwebp, libpng, libavif and libtiff;
`tests/clip/test_decode_cost.py` compares them with the kernel's counts. They hold for `resampling` too: between its
passes it needs no more memory than Pillow, and it keeps only the weights and results of the crop.
"""

from __future__ import annotations

from PIL import Image

# Bytes of a pixel in Pillow's memory, by mode; all others take 4, including RGB.
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
# Bytes of a pixel in decoder and image together, for decoders with buffers of their own. WebP: two canvases and a
# copy of one, and another copy with alpha. AVIF: planes of 16 bits. TIFF: a file of one strip. GIF: a frame and its
# canvas.
_DECODER_BYTES = {"WEBP": 16, "AVIF": 24, "TIFF": 16, "GIF": 8}
_WITH_ALPHA = frozenset(("LA", "PA", "RGBA", "La", "RGBa"))
_BLOCK_BYTES = 128  # 8 x 8 coefficients of 16 bits
_ROWS_AND_TABLES = 2_000_000  # buffers of constant size


def coefficient_bytes(image: Image.Image, scans: int) -> int:
    """Bytes that libjpeg keeps for a JPEG of several scans: all coefficients, in whole blocks of each component."""
    if not scans:
        return 0
    layers = [(across, down) for _, across, down, _ in image.layer]  # type: ignore[attr-defined]
    most_across, most_down = max(layer[0] for layer in layers), max(layer[1] for layer in layers)
    across, down = -(-image.width // (8 * most_across)), -(-image.height // (8 * most_down))
    return sum(_BLOCK_BYTES * across * a * down * d for a, d in layers)


def decode_bytes(
    image: Image.Image, file_bytes: int, coefficients: int, resized: tuple[int, int], *, may_turn: bool
) -> int:
    """The peak memory of loading and fitting an opened image, in bytes.

    `file_bytes`: of the file, which some decoders copy. `coefficients`: see `coefficient_bytes`. `resized`: the
    size before the crop. `may_turn`: its EXIF orientation may turn it, which copies it, as resizing with alpha
    does.
    """
    pixels, kept = image.width * image.height, _PIXEL_BYTES.get(image.mode, 4)
    alpha = image.mode in _WITH_ALPHA
    decoder = _DECODER_BYTES.get(image.format or "", kept) + (kept if alpha else 0)
    copies = 2 if may_turn or alpha else 1
    width, height = resized
    between = max(width * image.height, height * image.width)  # resized along one side, then along the other
    resizing = kept * (copies * pixels + between + 2 * width * height)
    return file_bytes + max(decoder * pixels + coefficients, resizing) + _ROWS_AND_TABLES
