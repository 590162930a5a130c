"""Image files that are small pictures with hostile things around them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.abuse.attack import Attack
from tests.abuse.attacks.files import (
    chunk,
    jpeg_with,
    png_of_zeros,
    png_with,
    riff_chunk,
    segment,
    sized,
    small,
    webp_canvas,
    webp_lossless,
    zeros,
)
from tests.abuse.attacks.images import Makers, bombs, raw


def exif(*directories: bytes, first: int = 8) -> bytes:
    return b"Exif\0\0MM\0*" + struct.pack(">I", first) + b"".join(directories)


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    """A field of a directory; `kind`: 3 is a short, 4 a long, 2 a text."""
    return struct.pack(">HHII", tag, kind, count, value)


def directory(*entries: bytes, following: int = 0) -> bytes:
    return struct.pack(">H", len(entries)) + b"".join(entries) + struct.pack(">I", following)


def _app1(body: bytes) -> bytes:
    return jpeg_with(segment(0xE1, body))


def _profile(data: bytes) -> bytes:
    return chunk(b"iCCP", b"a\0\0" + data)


_EMPTY_EXIF = segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")

FLOODS: Makers = {
    "1,000,000 empty APP5": lambda: jpeg_with(segment(0xE5) * 1_000_000),
    "999 empty APP1 of Exif": lambda: jpeg_with(_EMPTY_EXIF * 999),
    "120 APP1 of Exif of 64 KB": lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(65_400)) * 120),
    "120 APP2 of ICC of 64 KB": lambda: jpeg_with(
        b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([n + 1, 120]) + bytes(65_400)) for n in range(120))
    ),
    "APP2 of MPF": lambda: jpeg_with(
        segment(0xE2, b"MPF\0MM\0*\0\0\0\x08" + directory(entry(0xB001, 4, 1, 1 << 31)))
    ),
    "999 Huffman tables": lambda: jpeg_with(segment(0xC4, b"\0\0\1" + bytes(14) + b"\0") * 999),
    "999 compressed texts of 1 MB": lambda: png_with(chunk(b"zTXt", b"k\0\0" + zeros(1 << 20)) * 999),
    "a compressed text of 1 GB": lambda: png_with(chunk(b"zTXt", b"k\0\0" + zeros(1 << 30))),
    "a profile of 1 GB": lambda: png_with(_profile(zeros(1 << 30))),
    "999 Exif chunks of 8 KB": lambda: png_with(chunk(b"eXIf", b"MM\0*" + bytes(8_000)) * 999),
    "400,000 empty chunks of pixels": lambda: png_with(chunk(b"IDAT") * 400_000),
    "800,000 unknown chunks": lambda: webp_lossless(8, 8) + b"abcd\0\0\0\0" * 800_000,
}

EXIF: Makers = {
    "a directory that follows itself": lambda: _app1(
        exif(directory(entry(0x112, 3, 1, 6 << 16), following=8))
    ),
    "interoperability in a loop": lambda: _app1(
        exif(directory(entry(0x8769, 4, 1, 26)), directory(entry(0xA005, 4, 1, 8)))
    ),
    "4 billion longs in 5,000 fields": lambda: _app1(
        exif(directory(*(entry(tag, 4, 0xFFFFFFFF, 8) for tag in range(5_000))))
    ),
    "16,000 values in each of 5,000 fields": lambda: _app1(
        exif(directory(*(entry(tag, 4, 16_000, 8) for tag in range(5_000))))
    ),
    "64 KB of text in each of 5,000 fields": lambda: _app1(
        exif(directory(*(entry(tag, 2, 60_000, 8) for tag in range(5_000))))
    ),
    "10,000 directories": lambda: _app1(exif(*(directory(following=8 + 6 * (n + 1)) for n in range(10_000)))),
    "8 MB in a PNG": lambda: png_with(
        chunk(
            b"eXIf",
            exif(directory(*(entry(t, 4, 1_900_000, 8) for t in range(4_000))))[6:] + bytes(7_900_000),
        )
    ),
}

PROFILES: Makers = {
    "parts in disorder": lambda: jpeg_with(
        b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 99]) + b"x" * 99) for n in range(99, 0, -1))
    ),
    "not deflated": lambda: png_with(_profile(b"not deflated" * 99)),
    "WebP, 7.9 MB": lambda: webp_canvas(
        8, 8, 0x20, riff_chunk(b"ICCP", bytes(7_900_000)), webp_lossless(8, 8)[12:]
    ),
}


ASPECTS: Makers = {
    "1 x 65,535": lambda: png_of_zeros(1, 65_535),
    "1 x 16,384": lambda: png_of_zeros(1, 16_384),
    "163 x 16,384": lambda: png_of_zeros(163, 16_384),
    "164 x 16,384": lambda: png_of_zeros(164, 16_384),
    "1 x 65,500, JPEG": lambda: sized(small("JPEG"), 1, 65_500),
}


def attacks() -> Iterator[Attack]:
    yield from bombs("metadata floods", FLOODS)
    yield from bombs("Exif", EXIF)
    yield from bombs("colour profiles", PROFILES)
    for name, make in ASPECTS.items():
        yield Attack("aspect ratios", name, raw(make), legal=True)
