"""Pixels equal to the reference transform's, and limits that hold before anything is decoded."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageOps, _imaging

from clipserve.clip.fitting import fitted
from clipserve.clip.formats import FORMATS, sniff
from clipserve.clip.images import ImageLimits, configure_pillow, decode_pixels, decode_rgb
from clipserve.clip.manifest import ImageSpec
from clipserve.clip.resampling import RESIZED_BY, resampled
from clipserve.errors import InvalidInput, UndecodableImage, UnsupportedFormat
from tests.abuse.files import chunk, png_of_zeros, sized, small

GOLDEN = Path(__file__).parents[1] / "golden" / "pixels"
DIGESTS = json.loads((GOLDEN / "pixels.json").read_text())
SPECS = {
    "bicubic-224-shortest": ImageSpec(size=224),
    "bilinear-60-shortest": ImageSpec(size=60, interpolation="bilinear"),
    "bicubic-96-squash": ImageSpec(size=96, resize="squash"),
}
SPEC = SPECS["bicubic-224-shortest"]
LIMITS = ImageLimits()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", DIGESTS)
def test_pixels_are_those_of_the_reference_transform(name: str, spec: str) -> None:
    pixels = decode_pixels((GOLDEN / name).read_bytes(), SPECS[spec], LIMITS)
    size = SPECS[spec].size
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == DIGESTS[name][spec]


def test_every_decodable_format_has_a_sample() -> None:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5)
    for name in FORMATS:
        data = encoded(image, name)
        assert sniff(data, FORMATS) == name
        limits = ImageLimits(image_formats=(name,))
        assert decode_pixels(data, ImageSpec(size=8), limits).shape == (8, 8, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_first(orientation: int) -> None:
    upright = Image.open(GOLDEN / "rgb.png")
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # orientation -> the Transpose that a camera's turn amounts to
    lying = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    data = encoded(lying, exif=turned(orientation))
    np.testing.assert_array_equal(
        decode_pixels(data, SPEC, LIMITS), decode_pixels(encoded(upright), SPEC, LIMITS)
    )
    as_stored = decode_pixels(data, SPEC, ImageLimits(exif_transpose=False))
    np.testing.assert_array_equal(as_stored, decode_pixels(encoded(lying), SPEC, LIMITS))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("size", [(1024, 768), (640, 480), (481, 899), (900, 481), (300, 700), (448, 600)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_photo_that_lies_gives_the_pixels_of_the_upright_one(
    mode: str, size: tuple[int, int], orientation: int
) -> None:
    lying = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)).convert(
        mode
    )
    data = encoded(lying, "JPEG", exif=turned(orientation))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert upright.mode == mode
    assert decode_rgb(data, SPEC, LIMITS).rgb == fitted(upright, SPEC)


def test_scaled_decode_changes_large_jpegs_alone_and_those_by_less_than_half_a_level() -> None:
    tile = skimage.data.astronaut()
    large = Image.fromarray(np.tile(tile, (4, 5, 1)))  # 2560 x 2048, sharp everywhere
    small = Image.fromarray(np.tile(tile, (2, 3, 1)))  # 1536 x 1024: below the threshold
    scaled = ImageLimits(scaled_decode=True)
    for image, kind, same in ((large, "JPEG", False), (small, "JPEG", True), (large, "PNG", True)):
        data = encoded(image, kind)
        exact = decode_pixels(data, SPEC, LIMITS).astype(int)
        difference = np.abs(decode_pixels(data, SPEC, scaled).astype(int) - exact)
        assert (difference.max() == 0) == same, (image.size, kind)
        assert difference.mean() < 0.5  # of 255


def test_choices_that_change_vectors_are_told_to_the_fingerprint() -> None:
    assert ImageLimits().choices == []
    assert ImageLimits(exif_transpose=False, scaled_decode=True).choices == [
        "exif_transpose=false",
        "scaled_decode=true",
    ]


def test_a_broken_exif_block_does_not_make_a_photo_unreadable() -> None:
    image = Image.open(GOLDEN / "rgb.jpg")
    data = encoded(image, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffgarbage", quality=90)
    assert decode_pixels(data, SPEC, LIMITS).shape == (224, 224, 3)


def test_only_the_first_frame_counts() -> None:
    first, second = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    for kind in ("PNG", "WEBP"):
        data = encoded(first, kind, save_all=True, append_images=[second], lossless=True)
        assert decode_pixels(data, ImageSpec(size=32), LIMITS)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("sixteenth", range(1, 16))
@pytest.mark.parametrize("name", ["rgb.jpg", "progressive.jpg", "rgb.png", "rgb.webp"])
def test_a_cut_image_is_an_error_not_a_grey_half(name: str, sixteenth: int) -> None:
    data = (GOLDEN / name).read_bytes()
    with pytest.raises(InvalidInput):
        decode_pixels(data[: len(data) * sixteenth // 16], SPEC, LIMITS)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "empty"),
        (b"\xff", "not an image of a known format"),
        (b"hello", "not an image of a known format"),
    ],
)
def test_what_is_no_image_is_told_which_formats_are(data: bytes, named: str) -> None:
    with pytest.raises(UnsupportedFormat, match=named) as caught:
        decode_pixels(data, SPEC, LIMITS)
    assert "JPEG, PNG, WEBP" in caught.value.detail


def of_frame(marker: int, bits: int = 8) -> bytes:
    """A JPEG of another kind, such as a lossless one."""
    data = bytearray(small("JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 1], data[frame + 4] = marker, bits
    return bytes(data)


BROKEN: dict[str, Callable[[], bytes]] = {
    "12 bits": lambda: of_frame(0xC1, 12),
    "arithmetic": lambda: of_frame(0xC9),
    "lossless": lambda: of_frame(0xC3),
    "hierarchical": lambda: of_frame(0xC5),
    "0 x 0": lambda: sized(small("JPEG"), 0, 0),
    "width 0": lambda: sized(small("JPEG"), 0, 9),
    "0 x 0, PNG": lambda: png_of_zeros(0, 0),
    "no end": lambda: small("JPEG")[:-2],
    "head of a PNG, body of a JPEG": lambda: small("PNG")[:8] + small("JPEG"),
    "a wrong checksum": lambda: small("PNG").replace(b"IDAT", b"IDAT\1", 1),
    "pixels and no palette": lambda: png_of_zeros(9, 9, colour=3).replace(b"PLTE", b"pLTE"),
    "deflate of nothing": lambda: small("PNG")[:33] + chunk(b"IDAT") + chunk(b"IEND"),
    "RIFF of 4 GB": lambda: b"RIFF\xff\xff\xff\xffWEBP" + bytes(1_000),
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_a_broken_image_is_the_caller_s_error(make: Callable[[], bytes]) -> None:
    data = make()
    with contextlib.suppress(InvalidInput):
        assert decode_pixels(data, ImageSpec(size=32), LIMITS).shape == (32, 32, 3)


@pytest.mark.parametrize("head", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"])
def test_a_right_beginning_with_nothing_behind_it_is_undecodable(head: bytes) -> None:
    for tail in (b"", bytes(1000), bytes(range(256)) * 40):
        with pytest.raises(UndecodableImage):
            decode_pixels(head + tail, SPEC, LIMITS)


def test_what_libtiff_finds_wrong_is_raised_and_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    broken = bytearray(encoded(Image.fromarray(noise), "TIFF", compression="tiff_adobe_deflate"))
    broken[20:60] = b"\xff" * 40
    with pytest.raises(UndecodableImage):
        decode_pixels(bytes(broken), SPEC, ImageLimits(image_formats=("TIFF",)))
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(RESIZED_BY == "Pillow", reason="our resizing was not built")
def test_a_process_of_clipserve_s_own_is_silent_and_has_large_pictures_in_one_block() -> None:
    _imaging.set_use_block_allocator(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configure_pillow()
        warnings.warn("Corrupt EXIF data.  Expecting to read 4 bytes", UserWarning, stacklevel=1)
    large = Image.new("RGB", (3_000, 2_000))
    assert resampled(large, (48, 32), (8, 0, 40, 32), "bicubic", height_first=False) is not None
