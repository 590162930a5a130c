"""A file of very many parts is refused before a decoder reads it, at little cost; good files are not."""

from __future__ import annotations

import io
import struct
import time
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipserve.clip.headers import METADATA, SCANS, SEGMENTS, Parts, walk
from clipserve.clip.images import ImageLimits, decode_pixels
from clipserve.clip.manifest import ImageSpec
from clipserve.errors import ImageTooLarge, UndecodableImage
from tests.abuse.files import chunk
from tests.clip.test_images import DIGESTS, GOLDEN, encoded

SPEC = ImageSpec(size=8)
PHOTO = Image.open(GOLDEN / "rgb.png")
JPEG = (GOLDEN / "rgb.jpg").read_bytes()
PROGRESSIVE = (GOLDEN / "progressive.jpg").read_bytes()
PNG = encoded(PHOTO)
WEBP = encoded(PHOTO, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")  # in the extended layout
EMPTY_SCAN = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"


def decoded(data: bytes, **limits: Any) -> tuple[int, ...]:
    return decode_pixels(data, SPEC, ImageLimits(**limits)).shape


def segment(marker: int, body: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(parts: bytes, of: bytes = JPEG) -> bytes:
    return of[:2] + parts + of[2:]


def png_with(parts: bytes, at: int = 33) -> bytes:
    """The PNG with these chunks behind its header, or elsewhere."""
    return PNG[:at] + parts + PNG[at:]


def webp_with(parts: bytes) -> bytes:
    return WEBP[:4] + struct.pack("<I", len(WEBP) + len(parts) - 8) + WEBP[8:] + parts


def one_scan_for_each_component(width: int, height: int, scans: int) -> bytes:
    """A sequential JPEG of a few bytes whose scans hold a component each, and no pixels."""
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG", subsampling=0))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data[: data.index(b"\xff\xda")]) + EMPTY_SCAN * scans + b"\xff\xd9"


PROFILE = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000), 9))
BOMBS: dict[str, tuple[bytes, str]] = {
    "Exif segments": (jpeg_with(segment(0xE1, b"Exif\0\0a") * 100_000), "1,001 segments"),
    "empty segments": (jpeg_with(segment(0xE5, b"") * 500_000), "1,001 segments"),
    "Exif segments behind an end marker": (
        jpeg_with(b"\xff\xd9" + segment(0xE1, b"Exif\0\0a") * 100_000),
        "1,001 segments",
    ),
    "Exif segments behind a marker without length": (
        jpeg_with(b"\xff\xf0" + segment(0xE1, b"Exif\0\0a") * 100_000),
        "1,001 segments",
    ),
    "markers without length": (jpeg_with(b"\xff\xd0" * 500_000), "1,001 segments"),
    "large segments": (
        jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 150),
        "bytes besides its pixels",
    ),
    "junk before a marker": (jpeg_with(segment(0xE5, b"") + bytes(9_000_000)), "bytes between its segments"),
    "junk and nothing else": (b"\xff\xd8\xff" + bytes(9_000_000), "bytes between its segments"),
    "fill bytes": (jpeg_with(b"\xff" * 9_000_000), "bytes between its segments"),
    "Photoshop's blocks": (jpeg_with(segment(0xED, bytes(60_000)) * 17), "17 segments of Photoshop's"),
    "segments between scans": (
        PROGRESSIVE[:-2] + segment(0xE5, b"") * 500_000 + PROGRESSIVE[-2:],
        "1,001 segments",
    ),
    "colour profiles": (png_with(PROFILE * 1_000), "2 colour profiles"),
    "text chunks": (png_with(chunk(b"tEXt", b"a\0b") * 100_000), "1,001 segments"),
    "text chunks at the end": (png_with(chunk(b"tEXt", b"a\0b") * 100_000, len(PNG) - 12), "1,001 segments"),
    "a large chunk": (png_with(chunk(b"prVt", bytes(8_000_000))), "bytes besides its pixels"),
    "empty chunks of pixels": (png_with(chunk(b"IDAT", b"") * 400_000, len(PNG) - 12), "chunks of pixels"),
    "unknown chunks": (webp_with(b"abcd\0\0\0\0" * 100_000), "1,001 segments"),
    "scans of a sequential jpeg": (one_scan_for_each_component(5_000, 5_000, 1_000), "101 scans"),
    "pixels of all scans": (one_scan_for_each_component(5_000, 5_000, 21), "525,000,000 pixels in all scans"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_of_many_parts_is_refused_at_little_cost(name: str) -> None:
    data, what = BOMBS[name]
    started = time.thread_time()  # of this thread alone, however busy the machine is
    with pytest.raises(ImageTooLarge, match=what) as caught:
        decoded(data)
    assert time.thread_time() - started < 0.6
    assert caught.value.actual is not None
    assert caught.value.limit is not None
    assert caught.value.actual > caught.value.limit


@pytest.mark.parametrize("name", DIGESTS)
def test_a_good_file_has_few_parts_of_few_bytes(name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    kind = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[name.rsplit(".", 1)[1]]
    parts = walk(kind, data, Parts(1_000, 1_000_000, 100))
    assert parts[SEGMENTS] <= 20
    assert parts[METADATA] < 1_200
    assert parts[SCANS] == (10 if name == "progressive.jpg" else 0)


def limits_of(name: str, data: bytes) -> dict[str, int]:
    """The limits that a file is just within."""
    parts = walk(name, data, Parts(1_000, 1_000_000, 100))
    limits = {"max_image_segments": parts[SEGMENTS], "max_image_metadata_bytes": parts[METADATA]}
    if not parts[SCANS]:
        return limits
    image = Image.open(io.BytesIO(data))
    pixels = image.width * image.height * parts[SCANS]
    return limits | {"max_scans": parts[SCANS], "max_scan_pixels": pixels}


@pytest.mark.parametrize(
    ("data", "name"), [(JPEG, "JPEG"), (PROGRESSIVE, "JPEG"), (PNG, "PNG"), (WEBP, "WEBP")]
)
def test_a_file_at_the_limits_of_its_parts_is_decoded_and_one_beyond_is_refused(
    data: bytes, name: str
) -> None:
    at = limits_of(name, data)
    assert decoded(data, **at) == (8, 8, 3)
    for limit, actual in at.items():
        with pytest.raises(ImageTooLarge) as caught:
            decoded(data, **{**at, limit: actual - 1})
        assert (caught.value.limit, caught.value.actual) == (actual - 1, actual)


def test_parts_are_counted_to_the_byte() -> None:
    parts = Parts(1_000, 1_000_000, 100)
    walk("JPEG", b"\xff\xd8" + segment(0xE5, b"abc") + b"12" + segment(0xE6, b"") + b"345", parts)
    assert (parts[SEGMENTS], parts[METADATA], parts["bytes between its segments"]) == (2, 7 + 4 + 2, 2 + 3)
    inside = b"\xff\xe5" * 3  # of a scan's header, which is skipped if it is as long as it must be
    for length, segments in ((12, 0), (11, 1), (13, 1)):
        parts = Parts(1_000, 1_000_000, 100)
        walk("JPEG", b"\xff\xd8\xff\xda" + struct.pack(">HB", length, 3) + inside + b"\0\x3f\0", parts)
        assert (parts[SCANS], parts[SEGMENTS]) == (1, segments)
    for pixels in range((1 << 18) - 3, (1 << 18) + 2):  # of a scan, which is searched in windows
        parts = Parts(1_000, 1_000_000, 100)
        walk("JPEG", b"\xff\xd8" + EMPTY_SCAN + bytes(pixels) + segment(0xE5, b"ab") + EMPTY_SCAN, parts)
        assert (parts[SCANS], parts[SEGMENTS], parts[METADATA]) == (2, 1, 4)
    parts = Parts(1_000, 1_000_000, 100)
    walk("WEBP", b"RIFF\x18\0\0\0WEBP" + b"abcd\3\0\0\0xyz\0" + b"VP8 \0\0\0\0", parts)
    assert (parts[SEGMENTS], parts[METADATA]) == (1, 12)


def test_bytes_between_segments_and_segments_of_photoshop_have_limits_too() -> None:
    for most, one in ((b"\0" * 65_536, b"\0"), (segment(0xED, b"a") * 16, segment(0xED, b"a"))):
        assert decoded(jpeg_with(segment(0xE5, b"") + most)) == (8, 8, 3)
        with pytest.raises(ImageTooLarge):
            decoded(jpeg_with(segment(0xE5, b"") + most + one))


def test_a_progressive_photo_of_12_megapixels_is_decoded() -> None:
    data = encoded(PHOTO.resize((4_000, 3_000)), "JPEG", progressive=True)
    assert walk("JPEG", data, Parts(1_000, 1_000_000, 100))[SCANS] == 10
    assert decoded(data) == (8, 8, 3)


@pytest.mark.parametrize(
    "data",
    [
        jpeg_with(segment(0xE1, b"Exif\0\0" + EMPTY_SCAN * 200), of=PROGRESSIVE),
        PROGRESSIVE + EMPTY_SCAN * 200,
        PROGRESSIVE + b"\xff\xe5\0\2" * 2_000,
        JPEG + bytes(2_000_000),
        PNG + chunk(b"tEXt", b"a\0b") * 2_000,
        WEBP + b"abcd\0\0\0\0" * 2_000,
    ],
    ids=["scans in a segment", "scans behind", "segments behind", "zeros behind", "png", "webp"],
)
def test_what_only_looks_like_a_part_does_not_count(data: bytes) -> None:
    assert decoded(data) == (8, 8, 3)


def test_two_thousand_frames_are_pixels_not_metadata() -> None:
    frames = [Image.new("L", (1, 1), n % 256) for n in range(2_000)]
    for kind in ("PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        assert decoded(data) == (8, 8, 3), kind


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, PNG, WEBP], ids=["jpeg", "progressive", "png", "webp"])
def test_a_file_cut_anywhere_in_its_head_is_undecodable_not_too_large(data: bytes) -> None:
    for length in range(12, 700, 3):
        with pytest.raises(UndecodableImage):
            decoded(data[:length])


def test_a_length_that_claims_more_than_there_is_is_a_broken_file_not_a_large_one() -> None:
    for kind, data in (
        ("PNG", png_with(b"\x7f\xff\xff\xfftEXt")),
        ("WEBP", webp_with(b"abcd\xff\xff\xff\x7f")),
    ):
        assert walk(kind, data, Parts(1_000, 1_000_000, 100))[METADATA] < len(data)
    with pytest.raises(UndecodableImage):
        decoded(png_with(b"\x7f\xff\xff\xfftEXt"))


def test_a_walk_over_a_photo_of_12_megapixels_costs_little() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3_000, 4_000, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG")
    started = time.thread_time()
    walk("JPEG", data, Parts(1_000, 1_000_000, 100))
    assert time.thread_time() - started < 0.02
