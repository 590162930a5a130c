"""Image files that cost far more than their bytes, or claim what they are not."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pillow_heif
from PIL import Image

from tests.abuse.attack import Attack, images, request
from tests.abuse.files import (
    SIDE,
    chunk,
    jpeg_with,
    lossless_of_one_colour,
    png_header,
    png_of_zeros,
    png_with,
    riff_chunk,
    saved,
    segment,
    sized,
    small,
    webp_canvas,
    webp_lossless,
    webp_lossy,
    zeros,
)

_DENSE = 2_500  # pixels; its square needs so little memory that no file is too small for it


def _alpha_bomb() -> bytes:
    alpha = b"\x01" + lossless_of_one_colour(_DENSE, _DENSE)[5:]
    return webp_canvas(_DENSE, _DENSE, 0x10, riff_chunk(b"ALPH", alpha), webp_lossy(_DENSE, _DENSE)[12:])


def _scans(scans: int) -> bytes:
    """Refinement scans over and over: each is a pass over the whole picture."""
    jpeg = sized(small("JPEG", progressive=True, subsampling=0), _DENSE, _DENSE)
    first = b"\xff\xda\0\x08\x01\x01\0\0\0\0"
    return jpeg[: jpeg.index(b"\xff\xda")] + (first + b"\0" * 4) * scans + b"\xff\xd9"


def _heic(width: int, height: int, **options: object) -> bytes:
    pillow_heif.register_heif_opener()
    return saved(Image.new("RGB", (width, height)), "HEIF", quality=1, **options)


def _heic_claims(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its container; the coded picture keeps its own."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


def _exif(fields: int, kind: int, count: int) -> bytes:
    """A directory of so many fields, each of so many values at the same place; `kind`: 4 is a long."""
    entries = b"".join(struct.pack(">HHII", tag, kind, count, 8) for tag in range(fields))
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, fields) + entries + bytes(4)


# Each takes one decoder: with 32 in a request, at most as many times what one takes.
FILES: dict[str, Callable[[], bytes]] = {
    "WebP, lossless, 49 MP": lambda: webp_lossless(SIDE, SIDE),
    "WebP, lossless, 6 MP": lambda: webp_lossless(_DENSE, _DENSE),
    "PNG, interlaced RGBA of 16 bits, 3 MP": lambda: png_of_zeros(2_000, 1_500, 16, 6, 1),
    "PNG, a gigabyte behind the last row": lambda: (
        png_header(10, 10) + chunk(b"IDAT", zeros(1 << 30)) + chunk(b"IEND")
    ),
    "PNG, a text of 1 GB": lambda: png_with(chunk(b"zTXt", b"k\0\0" + zeros(1 << 30))),
    "PNG, 400,000 empty chunks of pixels": lambda: png_with(chunk(b"IDAT") * 400_000),
    "JPEG, 10 scans of 6 MP": lambda: _scans(10),
    "JPEG, 120 segments of Exif of 64 KB": lambda: jpeg_with(
        segment(0xE1, b"Exif\0\0" + bytes(65_400)) * 120
    ),
    "JPEG, 16,000 values in each of 5,000 fields": lambda: jpeg_with(segment(0xE1, _exif(5_000, 4, 16_000))),
    "HEIC, 4 MP in tiles": lambda: _heic(2_000, 2_000, tile_size=512),
    "HEIC, 64 pixels that claim 4 Gpx": lambda: _heic_claims(_heic(64, 64), 65_535, 65_535),
    "a megabyte of zeros": lambda: bytes(1_000_000),
}
MANY: dict[str, Callable[[], bytes]] = {
    "WebP, alpha of 6 MP": _alpha_bomb,
    "JPEG, 6 MP claimed by 1 KB": lambda: sized(small("JPEG", progressive=True), _DENSE, _DENSE),
}


def attacks() -> Iterator[Attack]:
    for name, make in FILES.items():
        yield Attack(name, lambda make=make: [request("/embed", make(), "image/x")], legal=True)  # type: ignore[misc]
    for name, make in MANY.items():
        several = f"32 of {name}"
        yield Attack(several, lambda make=make: [images([make()] * 32)], legal=True, photos=32.0)  # type: ignore[misc]
