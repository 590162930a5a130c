"""HEIC, as phones write it: pixels, orientation, and files that are broken or too large."""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image

from clipserve.clip.images import ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.errors import ImageTooLarge, UndecodableImage, UnsupportedFormat
from tests.clip.test_decode_cost import ROOT, picture
from tests.clip.test_images import encoded, turned

SPEC, LIMITS = ImageSpec(size=224), ImageLimits(image_formats=("JPEG", "PNG", "HEIC"))


def heic(image: Image.Image, **options: object) -> bytes:
    pillow_heif.register_heif_opener(thumbnails=False)
    return encoded(image, "HEIF", **options)


def as_png(data: bytes) -> bytes:
    """What pillow-heif makes of a file, without loss."""
    pillow_heif.register_heif_opener(thumbnails=False)
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).save(file, "PNG")
    return file.getvalue()


def photo_of(orientation: int, kind: str) -> bytes:
    pillow_heif.register_heif_opener(thumbnails=False)
    with Image.open(ROOT / "docs" / "cat.jpg") as cat:
        small = cat.convert("RGB").resize((144, 120))
    return encoded(small, kind, quality=90, exif=turned(orientation).tobytes())


@cache
def turned_jpegs() -> list[npt.NDArray[np.int_]]:
    """The photo as a JPEG, which its EXIF block turns in the eight ways."""
    return [decode_pixels(photo_of(way, "JPEG"), SPEC, LIMITS).astype(int) for way in range(1, 9)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_container_turns_a_photo_and_its_exif_block_does_not_turn_it_again(orientation: int) -> None:
    data = photo_of(orientation, "HEIF")
    pixels = decode_pixels(data, SPEC, LIMITS)
    np.testing.assert_array_equal(pixels, decode_pixels(as_png(data), SPEC, LIMITS))
    # As of a JPEG that its EXIF block turns: of the eight ways to turn it, that one is the nearest.
    far = [np.abs(pixels - jpeg).mean() for jpeg in turned_jpegs()]
    assert 1 + int(np.argmin(far)) == orientation


PICTURE = picture(size=(300, 200))
SECOND = Image.new("RGB", (300, 300))
FILES: dict[str, Callable[[], bytes]] = {
    "4:2:0": lambda: heic(PICTURE, quality=50),
    "4:4:4": lambda: heic(PICTURE, chroma=444, quality=90),
    "lossless": lambda: heic(PICTURE, quality=-1),
    "grey": lambda: heic(PICTURE.convert("L"), quality=80),
    "RGBA": lambda: heic(PICTURE.convert("RGBA"), quality=80),
    "LA": lambda: heic(PICTURE.convert("LA"), quality=80),
    "16 bits": lambda: heic(Image.new("I;16", (300, 200), 30_000), quality=80),
    "the first of a series": lambda: heic(PICTURE, save_all=True, append_images=[SECOND], primary_index=0),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_pixels_are_those_of_pillow_heif(make: Callable[[], bytes]) -> None:
    data = make()
    expected = decode_pixels(as_png(data), SPEC, LIMITS)
    np.testing.assert_array_equal(decode_pixels(data, SPEC, LIMITS), expected)


@pytest.mark.skipif(
    not shutil.which("heif-enc"),
    reason="heif-enc is not installed (Debian: libheif-examples libheif-plugin-x265)",
)
@pytest.mark.parametrize("options", [["-q", "50"], ["-q", "90"], ["-L"], ["--thumb", "64"], ["-b", "10"]])
def test_pixels_of_files_by_another_encoder_are_those_of_pillow_heif(
    tmp_path: Path, options: list[str]
) -> None:
    picture(size=(330, 250)).save(tmp_path / "photo.png")
    command = ["heif-enc", *options, str(tmp_path / "photo.png"), "-o", str(tmp_path / "photo.heic")]
    subprocess.run(command, check=True, capture_output=True)
    test_pixels_are_those_of_pillow_heif((tmp_path / "photo.heic").read_bytes)


def test_a_file_that_is_cut_short_or_changed_is_undecodable_or_a_picture() -> None:
    data = heic(picture(size=(300, 200)), quality=50)
    chance = random.Random(7)
    broken = [data[: len(data) * part // 12] for part in range(1, 12)]
    for _ in range(30):
        changed = bytearray(data)
        for _ in range(chance.choice((1, 8, 64))):
            changed[chance.randrange(12, len(data))] = chance.randrange(256)
        broken.append(bytes(changed))
    refused = 0
    for each in broken:
        try:
            assert decode_pixels(each, SPEC, LIMITS).shape == (224, 224, 3)
        except (UndecodableImage, ImageTooLarge):
            refused += 1
    assert refused >= 11


@pytest.mark.parametrize("percent", [35, 60, 90, 99])
def test_a_grid_that_is_cut_short_is_undecodable_and_not_green(percent: int) -> None:
    data = (ROOT / "tests/abuse/corpus/formats/tiles.heic").read_bytes()
    assert decode_pixels(data + bytes(9), SPEC, LIMITS).shape == (224, 224, 3)
    with pytest.raises(UndecodableImage, match="broken or cut short"):
        decode_pixels(data[: len(data) * percent // 100], SPEC, LIMITS)


def claiming(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its container; the coded picture keeps its own."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def test_a_picture_of_another_size_than_the_container_says_is_undecodable() -> None:
    data = heic(picture(size=(640, 480)), quality=50)
    for size in ((64, 64), (320, 240), (1_280, 960)):
        with pytest.raises(UndecodableImage):
            decode_pixels(claiming(data, *size), SPEC, LIMITS)


def test_a_large_one_is_refused_by_its_header() -> None:
    small = heic(Image.new("RGB", (64, 64)))
    with pytest.raises(ImageTooLarge, match="56,000,000 pixels"):
        read_header(claiming(small, 8_000, 7_000), SPEC, LIMITS)
    dense = claiming(small, 7_000, 7_000)
    with pytest.raises(ImageTooLarge, match=r"bytes, [0-9,]+ for each"):
        decode_pixels(dense, SPEC, LIMITS)


def test_a_server_without_it_names_what_is_missing() -> None:
    with pytest.raises(UnsupportedFormat, match=r"clipserve-core\[heif\].*CLIPSERVE_IMAGE_FORMATS"):
        decode_pixels(heic(picture(size=(30, 30))), SPEC, ImageLimits())
