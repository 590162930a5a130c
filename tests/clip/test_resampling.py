"""Our resize gives the bytes of Pillow's, whatever is resized, and refuses what it cannot read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image, _imaging

from clipserve.clip import fitting, resampling
from clipserve.clip.manifest import ImageSpec
from tools.resamples import compare, loaded

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "service/clipserve/clip/_resample.c"
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Werror", "-ffp-contract=off")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
SPEC = ImageSpec(size=32)

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="there is no compiler")


def built(folder: Path, *options: str) -> Path:
    library = folder / "_resample.so"
    words = ("-shared", "-fPIC", *STRICT, *options, f"-I{sysconfig.get_path('include')}")
    subprocess.run(["gcc", *words, SOURCE, "-o", library, "-lm"], check=True)
    return library


@needs_gcc
def test_our_resampling_is_there_where_there_is_a_compiler() -> None:
    assert resampling.RESIZED_BY != "Pillow", "touch service/setup.py && make .venv/dev.stamp"


@needs_gcc
def test_a_pillow_with_other_pixels_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resampling.agrees()
    as_it_is = Image.Image.resize

    def resize(image: Image.Image, size: tuple[int, int], resample: int) -> Image.Image:
        made = as_it_is(image, size, resample)
        if resample == Image.Resampling.BILINEAR and size == (15, 11):
            made.putpixel((14, 10), (0, 0, 0))
        return made

    monkeypatch.setattr(Image.Image, "resize", resize)
    assert not resampling.agrees()


@needs_gcc
@pytest.mark.parametrize("options", [("-O3",), ("-O3", "-DPLAIN")], ids=["as it is", "plain"])
@pytest.mark.parametrize("large", [20, pytest.param(5_000, marks=pytest.mark.nightly)])
def test_the_bytes_are_those_of_pillow(options: tuple[str, ...], large: int, tmp_path: Path) -> None:
    module = loaded(built(tmp_path, *options))
    assert (module.INSTRUCTIONS == "plain") or "-DPLAIN" not in options
    random = Random(0)
    for _ in range(600):
        compare(module.resize, random, 120)
    for _ in range(large):
        compare(module.resize, random, 1_000)


@pytest.mark.nightly
@needs_gcc
@pytest.mark.parametrize("options", [(), ("-DPLAIN",)], ids=["as it is", "plain"])
@pytest.mark.parametrize(("largest", "cases"), [(24, 50_000), (1_000, 500)])
def test_our_resampling_reads_and_writes_nothing_beside_its_arrays(
    options: tuple[str, ...], largest: int, cases: int, tmp_path: Path
) -> None:
    library = built(tmp_path, *SANITIZED, *options)
    runtime = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True).strip()
    # Python keeps some of its memory to its end.
    own = {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    words = (f"--cases={cases}", f"--largest={largest}", "--library", library)
    subprocess.run(
        [sys.executable, "-m", "tools.resamples", *words], cwd=ROOT, check=True, env=os.environ | own
    )


@pytest.mark.parametrize("turn", [None, *fitting._TURNS.values()], ids=str)
@pytest.mark.parametrize("mode", ["1", "CMYK", "I;16", "L", "LA", "P", "RGB", "RGBA", "YCbCr"])
def test_a_fitted_image_has_the_pixels_that_pillow_alone_gives(
    mode: str, turn: Image.Transpose | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = ((97, 66), (66, 97), (300, 40), (40, 300), (32, 32), (20, 9), (3, 2))
    images = [noise(size, mode) for size in sizes]
    made = [fitting.fitted(image, SPEC, turn) for image in images]
    monkeypatch.setattr(resampling, "RESIZED_BY", "Pillow")
    assert made == [fitting.fitted(image, SPEC, turn) for image in images]


@pytest.mark.parametrize(
    "before", [(20, 20), (19, 21), (20, 22), (25, 30), (25, 31), (25, 32), (90, 20), (20, 90)]
)
@pytest.mark.parametrize("interpolation", resampling.RESAMPLING)
@pytest.mark.skipif(resampling.RESIZED_BY == "Pillow", reason="it was not built")
def test_rows_and_columns_are_resized_in_pillow_s_order(before: tuple[int, int], interpolation: str) -> None:
    image = noise(before, "RGB")
    made = resampling.resampled(image, (20, 20), (0, 0, 20, 20), interpolation, height_first=False)
    assert made == image.resize((20, 20), resampling.RESAMPLING[interpolation]).tobytes()


def noise(size: tuple[int, int], mode: str) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[..., :2].copy().view(np.uint16)[..., 0])
    return Image.fromarray(values).convert(mode)


def test_the_picture_in_several_blocks_is_left_to_pillow() -> None:
    _imaging.set_use_block_allocator(0)
    try:
        image = Image.effect_noise((3_000, 2_000), 50).convert("RGB")
    finally:
        _imaging.set_use_block_allocator(int(resampling.RESIZED_BY != "Pillow"))
    size, box = (48, 32), (8, 0, 40, 32)
    assert resampling.resampled(image, size, box, "bicubic", height_first=False) is None
    expected = image.resize(size, Image.Resampling.BICUBIC).crop(box)
    assert fitting.fitted(image, SPEC) == expected.tobytes()


@pytest.mark.skipif(resampling.RESIZED_BY == "Pillow", reason="it was not built")
def test_what_cannot_be_is_refused() -> None:
    from clipserve.clip import _resample

    image, box = Image.new("RGB", (8, 8)), (0, 0, 4, 4)
    schema, array = image.__arrow_c_array__()
    for pixels, bands in ((schema, 3), (array, 3)):
        with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
            _resample.resize(pixels, pixels, (8, 8), bands, (4, 4), box, True, False)
    with pytest.raises(ValueError, match="not one run of pixels"):
        _resample.resize(schema, array, (8, 9), 3, (4, 4), box, True, False)
    for bands in (1, 5):
        with pytest.raises(ValueError, match=f"pixels of 4 bytes have no {bands} bands"):
            _resample.resize(schema, array, (8, 8), bands, (4, 4), box, True, False)
    for wrong in ((0, 0, 5, 4), (0, 0, 4, 5), (-1, 0, 4, 4), (2, 0, 2, 4), (0, 3, 4, 2)):
        with pytest.raises(ValueError, match="the box is inside of the result"):
            _resample.resize(schema, array, (8, 8), 3, (4, 4), wrong, True, False)
    whole = Image.new("F", (8, 8)).__arrow_c_array__()
    with pytest.raises(ValueError, match="not one run of pixels of bytes"):
        _resample.resize(*whole, (8, 8), 4, (4, 4), box, True, False)
