"""Resizes and crops in one step with `_resample.c`, if it was built: Pillow's pixels in a fraction of its time."""

from __future__ import annotations

from PIL import Image

try:
    from clipserve.clip import _resample
except ImportError:  # installed without a compiler, or not for this processor
    RESIZED_BY = "Pillow"
else:
    RESIZED_BY = f"clipserve ({_resample.INSTRUCTIONS})"

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_BANDS = {"L": 1, "La": 2, "RGB": 3, "CMYK": 4, "RGBa": 4}  # modes with bands of one byte


def allocate_in_one_block() -> None:
    """Let Pillow allocate all images of this process in one block, however large.

    `_resample` reads pixels in place through Pillow's Arrow interface, which needs that. Otherwise images of more
    than 16 MB are left to Pillow, which takes longer for the same pixels.
    """
    if RESIZED_BY != "Pillow":
        Image.core.set_use_block_allocator(1)  # type: ignore[attr-defined]


def resampled(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    interpolation: str,
    *,
    height_first: bool,
) -> bytes | None:
    """The part `box` of `image.resize(size)`: rows of its bands, a byte each; None: Pillow must resize it.

    `height_first`: along the height first, then along the width; else in Pillow's order.
    """
    if RESIZED_BY == "Pillow" or image.mode not in _BANDS:
        return None
    fewer_columns, fewer_rows = image.width - size[0], image.height - size[1]
    height_first |= fewer_rows > max(0, 2 * fewer_columns)
    try:
        return _resample.resize(
            *image.__arrow_c_array__(),
            image.size,
            _BANDS[image.mode],
            size,
            box,
            interpolation == "bicubic",
            height_first,
        )
    except ValueError:
        # In several blocks, see `allocate_in_one_block`; or a side is too long.
        return None


def agrees() -> bool:
    """Whether the results equal this Pillow's: its next release may round differently, or in another order."""
    smaller, height_first, larger = ((40, 30), (17, 13)), ((20, 90), (15, 11)), ((9, 8), (23, 31))
    for before, after in (smaller, height_first, larger):
        image = Image.frombytes("RGB", before, bytes(i * i % 251 for i in range(3 * before[0] * before[1])))
        for interpolation, resampling in RESAMPLING.items():
            ours = resampled(image, after, (0, 0, *after), interpolation, height_first=False)
            if ours != image.resize(after, resampling).tobytes():
                return False
    return True


if RESIZED_BY != "Pillow" and not agrees():
    RESIZED_BY = "Pillow"
