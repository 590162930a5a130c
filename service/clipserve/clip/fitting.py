"""A decoded image turned upright, resized and cropped as the reference does it, in the image's own mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

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
# To turn a photo of 12 megapixels takes half as long as to decode it; to turn what it is resized to takes nothing.
# The pixels are the same for images of these modes, whose sides are no more different than this and at least so
# many times the encoder's. With alpha or a palette they would not be; and Pillow resizes what is more than twice as
# high as it is wide along its height first, all else along its width.
_TURNED_LAST, _ASPECT, _MARGIN = frozenset(("RGB", "L", "CMYK")), 1.9, 2
_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def upright(image: Image.Image, spec: ImageSpec) -> tuple[Image.Image, Image.Transpose | None]:
    """The photo as its EXIF orientation says, or as it lies and what turns it, for `fitted`.

    If the EXIF block is broken, it stays as it is.
    """
    try:
        turn = _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # on hostile bytes the parser raises nearly anything
        return image, None
    if turn is None or may_turn_last(image, spec):
        return image, turn
    return image.transpose(turn), None


def fitted(image: Image.Image, spec: ImageSpec, turn: Image.Transpose | None = None) -> Image.Image:
    """Resize it, turn it, and crop the centre, to `spec.size` x `spec.size`."""
    size, resampling = spec.size, _RESAMPLING[spec.interpolation]
    if turn in _SWAP_SIDES:
        height, width = resized(image.size[::-1], spec)
        # Of the upright photo Pillow would resize the width first, which is the height here.
        image = _resize(image, (image.width, height), resampling)
        image = _resize(image, (width, height), resampling)
    else:
        image = _resize(image, resized(image.size, spec), resampling)
    if turn is not None:
        image = image.transpose(turn)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


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


def may_turn_last(image: Image.Image, spec: ImageSpec) -> bool:
    """Whether the photo may be resized as it lies: nothing makes a second copy of it."""
    short, long = sorted(image.size)
    alike = long <= _ASPECT * short and short >= _MARGIN * spec.size
    return image.mode in _TURNED_LAST and spec.resize == "shortest" and alike


def _resize(image: Image.Image, size: tuple[int, int], resampling: Image.Resampling) -> Image.Image:
    return image if image.size == size else image.resize(size, resampling)
