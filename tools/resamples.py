"""`_resample.resize` beside Pillow's: random images, sizes, boxes and filters.

`python -m tools.resamples --cases 20000` compares so many; `--largest 24` has small images, a million in
minutes; `--library FILE` takes another build than the installed one.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from PIL import Image, _imaging

BANDS = {"L": 1, "La": 2, "RGB": 3, "RGBa": 4, "CMYK": 4}
FILTERS = {True: Image.Resampling.BICUBIC, False: Image.Resampling.BILINEAR}
BLACK_OR_WHITE = bytes(255 * (value > 127) for value in range(256))  # sums that leave 0 to 255 the furthest


def loaded(library: Path) -> ModuleType:
    """A build of `_resample.c`."""
    spec = importlib.util.spec_from_file_location("_resample", library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def side(random: Random, largest: int) -> int:
    """1 to `largest`, each order of magnitude alike."""
    return int(math.exp(random.uniform(0, math.log(largest + 1))))


def picture(random: Random, mode: str, largest: int) -> Image.Image:
    size = side(random, largest), side(random, largest)
    data = random.randbytes(size[0] * size[1] * BANDS[mode])
    if random.random() < 0.3:
        data = data.translate(BLACK_OR_WHITE)
    return Image.frombytes(mode, size, data)


def span(random: Random, length: int) -> tuple[int, int]:
    begin = random.randrange(length)
    return begin, random.randint(begin + 1, length)


def compare(resize: Callable[..., bytes], random: Random, largest: int) -> None:
    """One case: in Pillow's order of passes, or along the height first.

    Raises:
        AssertionError: the pixels differ.
    """
    mode = random.choice(list(BANDS))
    image = picture(random, mode, largest)
    size = side(random, largest), side(random, largest)
    (left, right), (top, bottom) = span(random, size[0]), span(random, size[1])
    box, bicubic, height_first = (left, top, right, bottom), random.random() < 0.6, random.random() < 0.3
    expected = image.resize((image.width, size[1]), FILTERS[bicubic]) if height_first else image
    expected = expected.resize(size, FILTERS[bicubic]).crop(box)
    fewer_columns, fewer_rows = image.width - size[0], image.height - size[1]
    height_first |= fewer_rows > 0 and fewer_rows > 2 * fewer_columns
    given: tuple[Any, ...] = (image.size, BANDS[mode], size, box, bicubic, height_first)
    made = resize(*image.__arrow_c_array__(), *given)
    assert made == expected.tobytes(), (mode, *given)
    refuse(resize, random, image, list(given))


def refuse(resize: Callable[..., bytes], random: Random, image: Image.Image, given: list[Any]) -> None:
    """The same with one number that cannot be: never a crash."""
    wrong = random.choice([-1, 0, 65_536, 2**31 - 1])
    given[random.choice([0, 2])] = random.choice([(wrong, 3), (3, wrong)])
    with pytest.raises(ValueError, match=r"sides are 1 to|not one run of pixels"):
        resize(*image.__arrow_c_array__(), *given)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--largest", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--library", type=Path)
    asked = parser.parse_args()
    if asked.library:
        module = loaded(asked.library)
    else:
        from clipserve.clip import _resample as module
    _imaging.set_use_block_allocator(1)
    random = Random(asked.seed)
    for _ in range(asked.cases):
        compare(module.resize, random, asked.largest)
    print(f"{asked.cases:,} cases with {module.INSTRUCTIONS} instructions: equal to Pillow's")


if __name__ == "__main__":
    main()
