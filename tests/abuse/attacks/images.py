"""Bombs: image files that cost far more than their bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

import pillow_heif
from PIL import Image

from tests.abuse.attack import Attack, Piece, images_form, request
from tests.abuse.attacks.files import (
    EMPTY_SCAN,
    SIDE,
    chunk,
    jpeg_with,
    lossless_of_one_colour,
    png_header,
    png_of_zeros,
    riff_chunk,
    saved,
    sized,
    small,
    webp_animated,
    webp_canvas,
    webp_lossless,
    webp_lossy,
    zeros,
)

Makers = dict[str, Callable[[], bytes]]


def raw(make: Callable[[], bytes]) -> Callable[[], Iterable[Piece]]:
    """POST /embed with the image as its body."""
    return lambda: [request("/embed", make(), "image/x")]


def many(make: Callable[[], bytes], count: int = 32) -> Callable[[], Iterable[Piece]]:
    return lambda: [images_form([make()] * count)]


def bombs(kind: str, makers: Makers, legal: bool = True) -> Iterator[Attack]:
    """Of each one, and 32 in one request."""
    for name, make in makers.items():
        yield Attack(kind, name, raw(make), legal)
        yield Attack(kind, f"{name}, 32 in a request", many(make), legal, slow=True)


def _alpha_bomb() -> bytes:
    alpha = b"\x01" + lossless_of_one_colour(SIDE, SIDE)[5:]
    return webp_canvas(SIDE, SIDE, 0x10, riff_chunk(b"ALPH", alpha), webp_lossy(SIDE, SIDE)[12:])


WEBP: Makers = {
    "lossless, one colour, 49 MP": lambda: webp_lossless(SIDE, SIDE),
    "animated, one frame of 12 MP": lambda: webp_animated(4_000, 3_000, 1),
    "lossless, 16,383 x 3,000": lambda: webp_lossless(16_383, 3_000),
    "lossless, 268 MP": lambda: webp_lossless(16_384, 16_384),
    "lossy, one colour, 49 MP": lambda: webp_lossy(SIDE, SIDE),
    "animated, 1,000 frames of 49 MP": lambda: webp_animated(SIDE, SIDE, 1_000),
    "animated, canvas of 281 Tpx": lambda: webp_animated(1 << 24, 1 << 24, 1),
    "alpha of 49 MP": _alpha_bomb,
    "still of 1 pixel on a canvas of 49 MP": lambda: webp_canvas(
        SIDE, SIDE, 0, riff_chunk(b"VP8L", lossless_of_one_colour(1, 1))
    ),
}


def _png_many_idat(count: int) -> bytes:
    data = zeros(3_000_000 * 3 + 3_000)
    step = -(-len(data) // count)
    parts = b"".join(chunk(b"IDAT", data[at : at + step]) for at in range(0, len(data), step))
    return png_header(3_000, 1_000) + parts + chunk(b"IEND")


def _stored_blocks() -> bytes:
    """A zlib stream of empty blocks, a million of them."""
    return png_header(100, 100) + chunk(b"IDAT", b"\x78\x01" + b"\0\0\0\xff\xff" * 1_000_000) + chunk(b"IEND")


def _frames(count: int) -> bytes:
    first = saved(Image.new("L", (64, 64)), "PNG", save_all=True, append_images=[Image.new("L", (64, 64), 9)])
    at = first.index(b"fdAT") - 4
    size = 12 + int.from_bytes(first[at : at + 4], "big")
    return first[:at] + first[at : at + size] * count + first[at + size :]


PNG: Makers = {
    "one colour, 50 MP": lambda: png_of_zeros(10_000, 5_000),
    "interlaced RGBA of 16 bits, 50 MP": lambda: png_of_zeros(10_000, 5_000, 16, 6, 1),
    "palette with alpha, 50 MP": lambda: png_of_zeros(
        10_000, 5_000, colour=3, more=chunk(b"PLTE", bytes(768)) + chunk(b"tRNS", bytes(256))
    ),
    "one bit, 50 MP": lambda: png_of_zeros(10_000, 5_000, depth=1, colour=0),
    "49,000 chunks of pixels": lambda: _png_many_idat(49_000),
    "a gigabyte behind the last row": lambda: (
        png_header(10, 10) + chunk(b"IDAT", zeros(1 << 30)) + chunk(b"IEND")
    ),
    "a million empty blocks": _stored_blocks,
    "40,000 frames": lambda: _frames(40_000),
    "header alone, 4 Gpx": lambda: png_header(65_535, 65_535) + chunk(b"IDAT", zeros(1 << 20)),
}


def _of_many_scans(kind: str, scans: int, width: int, height: int) -> bytes:
    jpeg = sized(small("JPEG", progressive=kind == "progressive", subsampling=0), width, height)
    return jpeg[: jpeg.index(b"\xff\xda")] + EMPTY_SCAN * scans + b"\xff\xd9"


def _progressive_scans(scans: int, width: int, height: int) -> bytes:
    """Refinement scans over and over: each is a pass over the whole picture."""
    jpeg = sized(small("JPEG", progressive=True, subsampling=0), width, height)
    dc = b"\xff\xda\0\x08\x01\x01\0\0\0\0"
    return jpeg[: jpeg.index(b"\xff\xda")] + (dc + b"\0" * 4) * scans + b"\xff\xd9"


def _photo(megapixels: int, **options: object) -> bytes:
    side = int((megapixels * 1_000_000) ** 0.5)
    return saved(Image.new("RGB", (side, side), (9, 99, 200)), "JPEG", **options)


JPEG: Makers = {
    "1,000 empty scans, sequential": lambda: _of_many_scans("sequential", 1_000, SIDE, SIDE),
    "1,000 empty scans, progressive": lambda: _of_many_scans("progressive", 1_000, SIDE, SIDE),
    "100 scans of 5 MP": lambda: _progressive_scans(100, 2_500, 2_000),
    "10 scans of 49 MP": lambda: _progressive_scans(10, SIDE, SIDE),
    "49 MP claimed by 1 KB": lambda: sized(small("JPEG"), SIDE, SIDE),
    "49 MP claimed by 1 KB, progressive": lambda: sized(small("JPEG", progressive=True), SIDE, SIDE),
    "one colour, 49 MP, progressive": lambda: _photo(49, progressive=True),
    "a restart at each block, 4 MP": lambda: _photo(4, restart_marker_blocks=1),
    "4 Gpx in the header": lambda: sized(small("JPEG"), 65_500, 65_500),
    "a megabyte of fill bytes": lambda: jpeg_with(b"\xff" * 1_000_000),
    "a megabyte of restarts in the scan": lambda: small("JPEG")[:-2] + b"\xff\xd0" * 500_000 + b"\xff\xd9",
}


def _heic(width: int, height: int, **options: object) -> bytes:
    pillow_heif.register_heif_opener()
    return saved(Image.new("RGB", (width, height)), "HEIF", quality=1, **options)


def _heic_claims(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its container; the coded picture keeps its own."""
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", width, height) + data[at + 8 :]


HEIC: Makers = {
    "one colour, 49 MP": lambda: _heic(SIDE, SIDE),
    "one colour, 49 MP in tiles": lambda: _heic(SIDE, SIDE, tile_size=512),
    "64 pixels that claim 49 MP": lambda: _heic_claims(_heic(64, 64), SIDE, SIDE),
    "64 pixels that claim 4 Gpx": lambda: _heic_claims(_heic(64, 64), 65_535, 65_535),
    "12 MP that claim 64 pixels": lambda: _heic_claims(_heic(4_000, 3_000), 64, 64),
    "cut at a half": lambda: _heic(400, 300)[: len(_heic(400, 300)) // 2],
    "a head and a megabyte of zeros": lambda: _heic(64, 64)[:400] + bytes(1_000_000),
    "a box of 4 GB": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\xff\xff\xff\xffmeta" + bytes(1_000),
}


def _palette_gif(width: int, height: int) -> bytes:
    return saved(Image.new("P", (width, height)), "GIF")


OTHER: Makers = {
    "GIF": lambda: _palette_gif(3_000, 3_000),
    "a megabyte of zeros": lambda: bytes(1_000_000),
    "a megabyte of spaces before <svg": lambda: b" " * 1_000_000 + b"<svg",
}


def attacks() -> Iterator[Attack]:
    yield from bombs("WebP bombs", WEBP)
    yield from bombs("PNG bombs", PNG)
    yield from bombs("JPEG bombs", JPEG)
    yield from bombs("HEIC bombs", HEIC)
    yield from bombs("formats refused", OTHER, legal=False)
