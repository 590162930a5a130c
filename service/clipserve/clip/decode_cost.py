"""Computes an upper bound for the memory of decoding an image, from what its first bytes say.

The figures are those of Pillow 13 with libjpeg-turbo, libwebp, libpng, libavif and libtiff;
`tests/clip/test_decode_cost.py` compares them with the kernel's counts. They hold for `resampling` too: between its
passes it needs no more memory than Pillow, and it keeps only the weights and results of the crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipserve.clip.fitting import may_turn_last, resized

if TYPE_CHECKING:
    from clipserve.clip.manifest import ImageSpec

# Bytes of a pixel in Pillow's memory, by mode; all others take 4, including RGB.
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
# Bytes of a pixel in decoder and image together, for decoders with buffers of their own. WebP: two canvases and a
# copy of one, and another copy with alpha. AVIF: planes of 16 bits. TIFF: a file of one strip. GIF: a frame and its
# canvas.
_DECODER_BYTES = {"WEBP": 16, "AVIF": 24, "HEIF": 24, "TIFF": 16, "GIF": 8}
_WITH_ALPHA = frozenset(("LA", "PA", "RGBA", "La", "RGBa"))
_BLOCK_BYTES = 128  # 8 x 8 coefficients of 16 bits
_ROWS_AND_TABLES = 2_000_000  # buffers of constant size
# Scaled decoding is for photos of more pixels than the first number. The decoded side is at least the second number
# times the encoder's: with less, the decoder's filter affects the result.
SCALED_ABOVE, SCALED_MARGIN = 2_000_000, 3


@dataclass(frozen=True)
class Frame:
    """The first frame of a file.

    Attributes:
        format, mode: as Pillow names them.
        size: width and height in pixels, before any rotation.
        oriented: it may have an EXIF orientation.
        layers: of a JPEG of several scans, which is kept as coefficients: the sampling factors of each component.
    """

    format: str
    mode: str
    size: tuple[int, int]
    oriented: bool = True
    layers: Sequence[tuple[int, int]] = ()


def decode_bytes(
    frame: Frame, file_bytes: int, spec: ImageSpec, *, exif_transpose: bool, scaled_decode: bool
) -> int:
    """The peak memory of decoding a frame, in bytes. `file_bytes`: of the file, which some decoders copy."""
    width, height = size = _scaled(frame, spec) if scaled_decode else frame.size
    pixels, kept = width * height, _PIXEL_BYTES.get(frame.mode, 4)
    alpha = frame.mode in _WITH_ALPHA
    decoder = _DECODER_BYTES.get(frame.format, kept) + (kept if alpha else 0)
    # Turning copies it, as resizing with alpha does. Pillow always turns a TIFF while it loads it.
    turned = exif_transpose and not may_turn_last(frame.mode, size, spec)
    copies = 2 if alpha or (frame.oriented and (turned or frame.format == "TIFF")) else 1
    across, down = resized(size, spec)
    between = max(across * height, down * width)  # resized along one side, then along the other
    resizing = kept * (copies * pixels + between + 2 * across * down)
    loading = decoder * pixels + (_coefficient_bytes(frame) if frame.layers else 0)
    return file_bytes + max(loading, resizing) + _ROWS_AND_TABLES


def _scaled(frame: Frame, spec: ImageSpec) -> tuple[int, int]:
    """The size that is decoded: Pillow takes the smallest scale that gives at least `SCALED_MARGIN` of the side."""
    width, height = frame.size
    if frame.format not in ("JPEG", "MPO") or width * height <= SCALED_ABOVE:
        return frame.size
    most = min(width, height) // (SCALED_MARGIN * spec.size)
    scale = next((scale for scale in (8, 4, 2) if most >= scale), 1)
    return -(-width // scale), -(-height // scale)


def _coefficient_bytes(frame: Frame) -> int:
    """Bytes that libjpeg keeps for a JPEG of several scans: all coefficients, in whole blocks of each component."""
    most_across, most_down = (max(factors) for factors in zip(*frame.layers, strict=True))
    across, down = -(-frame.size[0] // (8 * most_across)), -(-frame.size[1] // (8 * most_down))
    return sum(_BLOCK_BYTES * across * a * down * d for a, d in frame.layers)
