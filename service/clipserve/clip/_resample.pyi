from typing import Final

INSTRUCTIONS: Final[str]  # of the processor, that `resize` uses: "AVX2" or "plain"

def resize(
    schema: object,
    array: object,
    source: tuple[int, int],
    bands: int,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    bicubic: bool,
    height_first: bool,
    /,
) -> bytes:
    """The bands of what `image.resize(size, filter).crop(box)` has in Pillow, in whole rows.

    `schema`, `array`: of `image.__arrow_c_array__()`. `source`: the image's width and height. `bands`: of a pixel,
    1 if it is a byte, 2 to 4 if it is four. `bicubic`: or bilinear. `height_first`: which pass comes first, where
    Pillow resizes along the width first, unless (height - new height) is above 0 and above
    2 * (width - new width).

    Raises:
        ValueError: the image is not in one run of bytes; a side is above 65,535; the box is not inside of `size`.
        MemoryError: there is none for the weights, what is between the passes, or the result.
    """
