"""Turns, resizes and crops a decoded image as the reference does, in the image's own mode.

The figures of memory are those of Pillow 13 with libjpeg-turbo, libwebp, libpng, libavif and libtiff;
`tests/clip/test_decode_cost.py` compares them with the kernel's counts. They hold for `resampling` too: between its
passes it needs no more memory than Pillow, and it keeps only the weights and results of the crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from clipserve.clip.resampling import RESAMPLING, resampled

if TYPE_CHECKING:
    from clipserve.clip.manifest import ImageSpec

_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAP_SIDES = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))
# EXIF orientations that also swap the axes.
_MIRROR_WIDTH = frozenset(_TURNS[orientation] for orientation in (2, 3, 7, 8))
_MIRROR_HEIGHT = frozenset(_TURNS[orientation] for orientation in (3, 4, 6, 7))
# Pillow resizes with premultiplied alpha, so that invisible pixels add no colour.
_PREMULTIPLIED = {"LA": "La", "RGBA": "RGBa"}
# Turning a photo of 12 megapixels takes half the time of decoding it; turning the resized one takes almost none.
# The pixels are the same for images of these modes with at most this ratio of sides, which are at least so many
# times the encoder's. With alpha or a palette they differ; and Pillow resizes an image of more than twice its
# width in height along its height first, any other along its width.
_TURNED_LAST, _ASPECT, _MARGIN = frozenset(("RGB", "L", "CMYK")), 1.9, 2
# Bytes of a pixel in decoder and image together, for decoders with buffers of their own. WebP: two canvases and a
# copy of one. AVIF: planes of 16 bits. TIFF: a file of one strip. GIF: a frame and its canvas.
_DECODER_BYTES = {"WEBP": 16, "AVIF": 24, "HEIF": 24, "TIFF": 16, "GIF": 8}
_PIXEL_BYTES = 4  # in Pillow's memory; of some modes less
_ORIENTED = frozenset(("exif", "xmp"))  # blocks from which Pillow reads an orientation
_ROWS_AND_TABLES = 2_000_000  # buffers of constant size


def decode_bytes(image: Image.Image, spec: ImageSpec, *, exif_transpose: bool) -> int:
    """The most memory that loading and fitting an opened image takes, besides its file and coefficients."""
    (width, height), pixels = image.size, image.width * image.height
    alpha = image.mode.endswith(("A", "a"))
    loading = pixels * (_DECODER_BYTES.get(image.format or "", _PIXEL_BYTES) + (_PIXEL_BYTES if alpha else 0))
    # Turning copies it, as resizing with alpha does. Pillow always turns a TIFF while it loads it; and a PNG may
    # have its EXIF block after its pixels.
    oriented = image.format != "JPEG" or not image.info.keys().isdisjoint(_ORIENTED)
    turned = exif_transpose and oriented and not may_turn_last(image.mode, image.size, spec)
    copies = 2 if alpha or turned or image.format == "TIFF" else 1
    across, down = resized(image.size, spec)
    between = max(across * height, down * width)  # resized along one side, then along the other
    resizing = _PIXEL_BYTES * (copies * pixels + between + 2 * across * down)
    return max(loading, resizing) + _ROWS_AND_TABLES


def upright(image: Image.Image, spec: ImageSpec) -> tuple[Image.Image, Image.Transpose | None]:
    """The photo turned by its EXIF orientation, or unturned with the transposition that `fitted` applies later.

    With a broken EXIF block it stays as it is.
    """
    try:
        turn = _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # on hostile bytes the parser raises almost any exception
        return image, None
    if turn is None or may_turn_last(image.mode, image.size, spec):
        return image, turn
    return image.transpose(turn), None


def fitted(image: Image.Image, spec: ImageSpec, turn: Image.Transpose | None = None) -> bytes:
    """Resize, crop the centre to `spec.size` x `spec.size`, and turn. Returns rows of RGB."""
    lies = turn in _SWAP_SIDES
    size = resized(image.size[::-1], spec)[::-1] if lies else resized(image.size, spec)
    box, mode = _centre(size, spec.size, turn), image.mode
    if mode in _PREMULTIPLIED and image.size != size:
        image = image.convert(_PREMULTIPLIED[mode])
    # Pillow would resize the width of the upright photo first, which is the height here.
    bands = resampled(image, size, box, spec.interpolation, height_first=lies)
    if bands is not None and mode == "RGB" and turn is None:
        return bands
    if bands is not None:
        part = Image.frombytes(image.mode, (spec.size, spec.size), bands)
    else:
        part = _resized_by_pillow(image, size, spec, height_first=lies).crop(box)
    if part.mode != mode:
        part = part.convert(mode)
    if turn is not None:
        part = part.transpose(turn)
    return part.convert("RGB").tobytes()


def resized(before: tuple[int, int], spec: ImageSpec) -> tuple[int, int]:
    """The size before the crop. Rounding is torchvision's: the long side is truncated, the crop offset is rounded
    half to even.
    """
    (width, height), size = before, spec.size
    if spec.resize == "squash":
        return size, size
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def may_turn_last(mode: str, size: tuple[int, int], spec: ImageSpec) -> bool:
    """Whether the photo may be resized before it is turned, which saves a second copy."""
    short, long = sorted(size)
    alike = long <= _ASPECT * short and short >= _MARGIN * spec.size
    return mode in _TURNED_LAST and spec.resize == "shortest" and alike


def _centre(size: tuple[int, int], side: int, turn: Image.Transpose | None) -> tuple[int, int, int, int]:
    """The box that becomes the centre of the turned photo, where half pixels are rounded."""
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    if turn in _MIRROR_WIDTH:
        left = size[0] - side - left
    if turn in _MIRROR_HEIGHT:
        top = size[1] - side - top
    return left, top, left + side, top + side


def _resized_by_pillow(
    image: Image.Image, size: tuple[int, int], spec: ImageSpec, *, height_first: bool
) -> Image.Image:
    resampling = RESAMPLING[spec.interpolation]
    if height_first:
        image = image.resize((image.width, size[1]), resampling)
    return image.resize(size, resampling)
