"""What an image announces is never less than what a decoder finds, and a false announcement gains nothing."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image

from clipserve.clip.announced import announced
from clipserve.clip.formats import FORMATS
from clipserve.clip.images import ImageLimits, decode_pixels, read_header
from clipserve.clip.manifest import ImageSpec
from clipserve.errors import ClipError, UndecodableImage, UnsupportedFormat
from tests.clip.test_decode_cost import CASES
from tests.clip.test_headers import EMPTY_SCAN, chunk, jpeg_with, one_scan_for_each_component, segment
from tests.clip.test_images import GOLDEN, encoded, png_header

SPEC, LIMITS = ImageSpec(size=32), ImageLimits()
ALL = ImageLimits(image_formats=tuple(FORMATS))
KNOWN = {name: make for name, make in CASES.items() if name.startswith(("JPEG", "PNG", "WEBP", "a "))}


def photo(kind: str, **options: object) -> bytes:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8))
    return encoded(image, kind, **options)


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize(
    ("spec", "limits"),
    [
        (ImageSpec(size=224), LIMITS),
        (ImageSpec(size=224, resize="squash"), LIMITS),
        (SPEC, ImageLimits(exif_transpose=False)),
        (SPEC, ImageLimits(scaled_decode=True)),
    ],
)
def test_a_good_file_announces_its_pixels_and_at_least_the_memory_of_decoding_it(
    name: str, spec: ImageSpec, limits: ImageLimits
) -> None:
    data = KNOWN[name]()
    found, header = announced(data, spec, limits), read_header(data, spec, limits)
    assert found is not None
    assert found.pixels == header.pixels
    if name.startswith("WEBP"):  # it says too late whether it has alpha
        assert header.decode_bytes <= found.decode_bytes <= 1.3 * header.decode_bytes
    else:
        assert found == header


def test_a_file_that_is_decoded_at_a_reduced_scale_announces_that() -> None:
    limits = ImageLimits(scaled_decode=True)
    for size in ((2_001, 1_000), (1_999, 1_501), (2_500, 1_203), (3_000, 3_001)):
        data = encoded(Image.new("RGB", size), "JPEG", progressive=True)
        for side in (32, 60, 100, 224, 500):
            spec = ImageSpec(size=side)
            image = Image.open(io.BytesIO(data))
            image.draft(None, (3 * side, 3 * side))
            whole = announced(encoded(Image.new("RGB", image.size), "JPEG"), spec, LIMITS)
            found = announced(data, spec, limits)
            assert found is not None
            assert whole is not None
            assert found == read_header(data, spec, limits)
            assert abs(found.decode_bytes - whole.decode_bytes) < 3 * size[0] * size[1] + 1_000_000


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.[jpw]*[gp]")), ids=lambda path: path.name)
def test_each_golden_file_is_decoded_as_it_is_announced(path: object) -> None:
    data = path.read_bytes()  # type: ignore[attr-defined]
    found = announced(data, SPEC, LIMITS)
    assert found is not None
    np.testing.assert_array_equal(decode_pixels(data, SPEC, LIMITS, found), decode_pixels(data, SPEC, LIMITS))


SECOND = segment(0xC0, struct.pack(">BHHB", 8, 16, 16, 1) + b"\1\x11\0")
SILENT = {
    "cut JPEG": photo("JPEG")[:100],
    "two frames": jpeg_with(SECOND),
    "a JPEG of no lines": photo("JPEG").replace(struct.pack(">HH", 60, 100), struct.pack(">HH", 0, 100)),
    "junk between segments": jpeg_with(segment(0xE5, b"") + b"\0"),
    "a marker without length": jpeg_with(b"\xff\xd0"),
    "an end before the scan": jpeg_with(b"\xff\xd9"),
    "many segments": jpeg_with(segment(0xE5, b"") * 200),
    "a length of nothing": jpeg_with(b"\xff\xe5\0\0"),
    "sampling factors of nothing": photo("JPEG", progressive=True).replace(b"\1\x22\0", b"\1\x02\0"),
    "no scan": b"\xff\xd8" + SECOND,
    "a scan and no frame": b"\xff\xd8" + EMPTY_SCAN,
    "PNG without a header": photo("PNG").replace(b"IHDR", b"abcd"),
    "cut PNG": photo("PNG")[:25],
    "PNG of no columns": png_header(0, 60),
    "PNG of too many pixels": png_header(8_000, 8_000),
    "PNG of too long a side": png_header(16_385, 200),
    "PNG as wide as its first byte says": png_header((1 << 24) + 200, 200),
    "PNG as high as its first byte says": png_header(200, (1 << 24) + 200),
    "a frame that is cut by its length": b"\xff\xd8\xff\xc0\0\2" + EMPTY_SCAN,
    "PNG of an unknown colour": photo("PNG")[:25] + b"\5" + photo("PNG")[26:],
    "cut WebP": photo("WEBP")[:29],
    "WebP without an image": photo("WEBP").replace(b"VP8 ", b"abcd"),
    "GIF": photo("GIF"),
    "BMP": photo("BMP"),
    "TIFF": photo("TIFF"),
    "AVIF": photo("AVIF"),
}


@pytest.mark.parametrize("data", SILENT.values(), ids=SILENT)
def test_what_a_strict_reader_does_not_know_is_left_to_a_decoder(data: bytes) -> None:
    assert announced(data, SPEC, ALL) is None


def test_an_image_is_known_as_soon_as_its_size_is_read_and_not_before() -> None:
    grey = b"\xff\xd8" + SECOND + EMPTY_SCAN
    for data in (grey, photo("PNG")[:26], photo("WEBP")[:30], photo("WEBP", lossless=True)[:30]):
        assert announced(data, SPEC, LIMITS) is not None
        assert all(announced(data[:end], SPEC, LIMITS) is None for end in range(12, len(data)))


def test_a_segment_is_skipped_by_its_length() -> None:
    data = photo("JPEG")
    long = data[:2] + segment(0xE5, bytes(700)) + data[2:]
    found, header = announced(data, SPEC, LIMITS), announced(long, SPEC, LIMITS)
    assert found is not None
    assert header == found._replace(decode_bytes=found.decode_bytes + 704)


def test_a_file_of_many_segments_is_given_up_at_once() -> None:
    data = jpeg_with(segment(0xE5, b"") * 500_000)
    started = time.thread_time()  # of this thread alone, however busy the machine is
    assert announced(data, SPEC, LIMITS) is None
    assert time.thread_time() - started < 0.05


def test_another_format_is_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="GIF, which is not accepted"):
        announced(photo("GIF"), SPEC, LIMITS)


def test_a_file_of_two_sizes_is_broken() -> None:
    first = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    data = photo("PNG")
    data = data[:8] + first + data[8:]
    found = announced(data, SPEC, LIMITS)
    assert found is not None
    assert found.pixels == 64
    assert decode_pixels(data, SPEC, LIMITS).shape == (32, 32, 3)
    with pytest.raises(UndecodableImage, match="begins as PNG but is broken"):
        decode_pixels(data, SPEC, LIMITS, found)


def test_a_sequential_file_of_several_scans_announces_its_coefficients() -> None:
    data = one_scan_for_each_component(1_000, 1_000, 3)
    found = announced(data, SPEC, LIMITS)
    assert found == read_header(data, SPEC, LIMITS)


def test_no_mutated_file_is_decoded_in_more_than_it_announces() -> None:
    random = np.random.default_rng(3)
    files = [path.read_bytes() for path in sorted(GOLDEN.glob("*.[jpw]*[gp]"))]
    for _ in range(600):
        data = bytearray(files[random.integers(len(files))])
        for _ in range(random.integers(1, 4)):
            data[random.integers(min(len(data), 700))] = random.integers(256)
        try:
            found = announced(bytes(data), SPEC, LIMITS)
            if found is not None:
                decode_pixels(bytes(data), SPEC, LIMITS, found)
                header = read_header(bytes(data), SPEC, LIMITS)
                assert header.pixels <= found.pixels
                assert header.decode_bytes <= found.decode_bytes
        except ClipError:
            pass
