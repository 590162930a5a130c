"""Image files put together by hand: few bytes that claim, or really hold, very many pixels or parts."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

SIDE = 7_000  # pixels; its square is just below the limit of 50 megapixels


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@functools.cache
def small(kind: str, **options: Any) -> bytes:
    """A file of 40 x 30 pixels of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels), kind, **options)


# PNG


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    """`colour`: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    return b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    )


@functools.cache
def zeros(size: int) -> bytes:
    """So many zero bytes as a zlib stream; a thousandth of them. One megabyte is compressed, and repeated."""
    block, end = (zlib.compressobj(9, wbits=-15) for _ in range(2))
    megabyte = block.compress(bytes(1 << 20)) + block.flush(zlib.Z_FULL_FLUSH)
    rest = end.compress(bytes(size % (1 << 20))) + end.flush()
    checksum = struct.pack(">HH", size % 65_521, 1)  # Adler-32 of zeros
    return b"\x78\xda" + megabyte * (size >> 20) + rest + checksum


def png_of_zeros(
    width: int, height: int, depth: int = 8, colour: int = 2, interlaced: int = 0, more: bytes = b""
) -> bytes:
    """A whole PNG of one colour. `more`: chunks behind its header."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + (width * channels * depth + 7) // 8
    size = row * height + (height * 8 if interlaced else 0)
    palette = chunk(b"PLTE", bytes(3 * 2 ** min(depth, 8))) if colour == 3 else b""
    return (
        png_header(width, height, depth, colour, interlaced)
        + more
        + palette
        + chunk(b"IDAT", zeros(size))
        + chunk(b"IEND")
    )


def png_with(parts: bytes, at: int = 33) -> bytes:
    """The small PNG with these chunks behind its header."""
    png = small("PNG")
    return png[:at] + parts + png[at:]


# JPEG


def segment(marker: int, body: bytes = b"") -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(parts: bytes, **options: Any) -> bytes:
    """The small JPEG with these segments behind its start."""
    jpeg = small("JPEG", **options)
    return jpeg[:2] + parts + jpeg[2:]


def sized(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG that claims another size."""
    data = bytearray(jpeg)
    at = next(data.index(bytes([0xFF, m])) for m in (0xC0, 0xC2) if bytes([0xFF, m]) in data)
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


# WebP


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def riff_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def lossless_of_one_colour(width: int, height: int) -> bytes:
    """The body of a VP8L chunk: five prefix codes of one symbol each, so that a pixel takes no bits."""
    bits = f"{width - 1:014b}"[::-1] + f"{height - 1:014b}"[::-1] + "0" + "000"  # no alpha, version 0
    bits += "000"  # no transform, no colour cache, one prefix code group
    bits += ("1" + "0" + "0" + "0") * 5  # simple, one symbol, of one bit: 0
    bits += "0" * (-len(bits) % 8) + "0" * 64
    packed = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    return b"\x2f" + packed


def webp_lossless(width: int, height: int) -> bytes:
    return riff(riff_chunk(b"VP8L", lossless_of_one_colour(width, height)))


@functools.cache
def webp_lossy(width: int, height: int) -> bytes:
    return saved(Image.new("RGB", (width, height), (9, 9, 9)), "WEBP", method=0)


def webp_canvas(width: int, height: int, flags: int, *chunks: bytes) -> bytes:
    """The extended layout. `flags`: 0x10 alpha, 0x02 animation, 0x20 profile, 0x08 Exif."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff(riff_chunk(b"VP8X", struct.pack("<I", flags) + size), *chunks)
