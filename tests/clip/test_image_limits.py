"""Every limit of an image holds at exactly its value and one beyond; formats are known by their first bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipserve.clip.formats import FORMATS, sniff
from clipserve.clip.images import ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.errors import ImageTooLarge, UnsupportedFormat
from tests.clip.test_images import GOLDEN, encoded

SPEC = ImageSpec(size=8)


def decoded(data: bytes, **limits: Any) -> tuple[int, ...]:
    return decode_pixels(data, SPEC, ImageLimits(**limits)).shape


@pytest.mark.parametrize("size", [(10, 5), (5, 10)])
@pytest.mark.parametrize(
    ("name", "actual", "less", "what"),
    [
        ("max_pixels", 50, 49, "50 pixels; the limit is 49."),
        ("max_side", 10, 9, "10 pixels on its longer side; the limit is 9."),
        ("max_aspect", 2.0, 1.75, "2 times as long as it is wide; the limit is 1.75."),
    ],
)
def test_an_image_at_a_limit_is_decoded_and_one_beyond_is_refused_with_both_figures(
    size: tuple[int, int], name: str, actual: float, less: float, what: str
) -> None:
    data = encoded(Image.new("RGB", size))
    assert decoded(data, **{name: actual}) == (8, 8, 3)
    with pytest.raises(ImageTooLarge) as caught:
        decoded(data, **{name: less})
    assert (caught.value.limit, caught.value.actual) == (less, actual)
    assert caught.value.detail == f"the image is {size[0]} x {size[1]}: {what}"


def test_a_jpeg_that_has_its_pixels_in_one_scan_is_at_no_limit_of_scans() -> None:
    assert decoded((GOLDEN / "rgb.jpg").read_bytes(), max_scans=0) == (8, 8, 3)


def noise(width: int, height: int) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG")


@pytest.mark.parametrize(("height", "same"), [(1_000, True), (1_001, False)])
def test_scaled_decoding_is_for_more_than_two_million_pixels(height: int, same: bool) -> None:
    data = noise(2_000, height)
    scaled = decode_pixels(data, SPEC, ImageLimits(scaled_decode=True))
    assert np.array_equal(scaled, decode_pixels(data, SPEC, ImageLimits())) == same


@pytest.mark.parametrize(("width", "height"), [(2_016, 1_008), (1_008, 2_016)])
@pytest.mark.parametrize(("size", "scale"), [(42, 8), (43, 4)])
def test_scaled_decoding_leaves_three_pixels_for_each_of_the_encoder_s(
    size: int, scale: int, width: int, height: int
) -> None:
    data = noise(width, height)
    image = Image.open(io.BytesIO(data))
    image.draft(None, (width // scale, height // scale))
    assert image.size == (width // scale, height // scale)
    spec, limits = ImageSpec(size=size), ImageLimits(scaled_decode=True)
    expected = decode_pixels(encoded(image), spec, limits)
    np.testing.assert_array_equal(decode_pixels(data, spec, limits), expected)


HEADS = [
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", b"\x89PNG\r\n\x1a\n"),
    ("WEBP", b"RIFF\1\2\3\4WEBP"),
    ("GIF", b"GIF87a"),
    ("GIF", b"GIF89a"),
    ("BMP", b"BM"),
    ("TIFF", b"II*\0"),
    ("TIFF", b"MM\0*"),
    ("AVIF", b"\1\2\3\4ftypavif"),
    ("AVIF", b"\1\2\3\4ftypavis"),
]
FOREIGN = [
    *[("HEIC", b"\1\2\3\4ftyp" + brand) for brand in (b"heic", b"heix", b"hevc", b"mif1")],
    ("JPEG 2000", b"\0\0\0\x0cjP  "),
    ("JPEG 2000", b"\xff\x4f\xff\x51"),
    ("PDF", b"%PDF"),
    ("EPS", b"%!PS"),
    ("PSD", b"8BPS"),
    ("SVG or XML", b"<svg"),
    ("SVG or XML", b" \r\n<?xml"),
    ("HTML", b"<!DOCTYPE html>"),
    ("HTML", b"\n<html><head>"),
    ("HTML", b"<HTML lang='en'>"),
]


@pytest.mark.parametrize(("name", "head"), HEADS)
def test_a_format_is_known_by_its_first_bytes_and_refused_by_name_where_it_is_not_allowed(
    name: str, head: bytes
) -> None:
    assert sniff(head + bytes(9), FORMATS) == name
    others = [each for each in FORMATS if each != name]
    with pytest.raises(UnsupportedFormat) as caught:
        sniff(head + bytes(9), others)
    assert (
        caught.value.detail == f"the image is {name}, which is not accepted. Send one of {', '.join(others)}."
    )


@pytest.mark.parametrize(("name", "head"), FOREIGN)
def test_a_format_that_is_never_decoded_is_named(name: str, head: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match=f"^the image is {name}, which is not accepted"):
        sniff(head + bytes(9), FORMATS)


@pytest.mark.parametrize(
    "head", [b"RIFF\1\2\3\4WAVE", b"LIST\1\2\3\4WEBP", b"\1\2\3\4ftypmp42", b"\1\2\3\4xxxxavif", b"<p>", b"%"]
)
def test_half_of_a_format_s_first_bytes_is_no_format(head: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match=r"^the bytes are not an image of a known format"):
        sniff(head + bytes(9), FORMATS)


def one_colour(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, "WEBP", lossless=True)
    return file.getvalue()


def test_many_megapixels_in_a_few_bytes_are_refused_by_the_header() -> None:
    assert read_header(one_colour(2_000), SPEC, ImageLimits()).decode_bytes < 100_000_000
    data = one_colour(3_000)
    with pytest.raises(
        ImageTooLarge, match=r"9,000,000 pixels in \d+ bytes, .* large images is 60\."
    ) as caught:
        read_header(data, SPEC, ImageLimits())
    assert (caught.value.limit, caught.value.actual) == (60, 9_000_000 / len(data))


def test_many_megapixels_in_a_file_of_a_photo_s_size_are_decoded() -> None:
    data = one_colour(3_000)
    padded = data + bytes(150_000 - len(data))  # what a WebP has behind its end is ignored
    assert read_header(padded, SPEC, ImageLimits()).decode_bytes > 100_000_000
    with pytest.raises(ImageTooLarge):
        read_header(padded[:-1], SPEC, ImageLimits())


def test_an_image_that_pillow_refuses_in_a_program_s_process_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process of clipserve's own has no limit of Pillow's; see `configure_pillow`."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    spec = ImageSpec(size=8)
    assert read_header(encoded(Image.new("RGB", (45, 20)), "PNG"), spec, ImageLimits()).pixels == 900
    with pytest.raises(ImageTooLarge, match=r"PIL\.Image\.MAX_IMAGE_PIXELS is 1,000") as refused:
        read_header(encoded(Image.new("RGB", (50, 50)), "PNG"), spec, ImageLimits())
    assert refused.value.limit == 1_000
