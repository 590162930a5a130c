"""Strategies of Hypothesis for bytes: seeds with edits, images right in lengths and checksums; texts."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import strategies as st

CORPUS = (
    Path(__file__).parents[1] / "corpus"
)  # small files of all kinds, of Pillow 12; another version writes others
_LONGEST = 100_000  # bytes of a case: a longer one only costs time
_EDGES = (0, 1, 2, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_NUMBERS = [struct.pack(f"{order}I", number) for number in _EDGES for order in "<>"]
_NUMBERS += [struct.pack(f"{order}H", number) for number in _EDGES if number < 65_536 for order in "<>"]
_SIDES = st.sampled_from((1, 100, 3_000, 7_000, 16_383))
Join = Callable[[list[bytes]], bytes]
# What stands before width and height in a file, how many bytes they take, and these bytes.
_SIZES: tuple[tuple[bytes, int, Callable[[int, int], bytes]], ...] = (
    (rb"(?<=IHDR)", 8, lambda width, height: struct.pack(">II", width, height)),
    (rb"(?<=\xff[\xc0\xc2]..\x08)", 4, lambda width, height: struct.pack(">HH", height, width)),
    (rb"(?<=VP8 ..........)", 4, lambda width, height: struct.pack("<HH", width, height)),
    (rb"(?<=VP8L.....)", 4, lambda width, height: struct.pack("<I", (width - 1) | (height - 1) << 14)),
    (rb"(?<=VP8X........)", 6, lambda w, h: struct.pack("<I", w - 1)[:3] + struct.pack("<I", h - 1)[:3]),
)


@st.composite
def edited(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A seed in which pieces are overwritten, repeated, moved, left out, or taken from words and other seeds."""
    return _edited(draw, draw(st.sampled_from(seeds)), seeds, words)


def _edited(draw: st.DrawFn, data: bytes, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 2, 3, 6)))):
        at, size = draw(st.integers(0, len(data))), draw(st.sampled_from((1, 2, 4, 8, 32, 256, _LONGEST)))
        kind = draw(st.integers(0, 5))
        if kind <= 1:
            new = draw(st.one_of(st.binary(max_size=4), st.sampled_from(_NUMBERS)))
        elif kind <= 3:
            new = draw(st.sampled_from(words)) * draw(st.sampled_from((1, 1, 1, 2, 50, 2_000)))
        elif kind == 4:
            other = draw(st.sampled_from([data, data, *seeds]))
            begin = draw(st.integers(0, len(other)))
            new = other[begin : begin + size] * draw(st.sampled_from((1, 1, 2, 10, 100)))
        else:
            new = b""
        gone = draw(st.sampled_from((len(new), len(new), 0, size)))
        data = (data[:at] + new + data[at + gone :])[:_LONGEST]
    return data


@st.composite
def images(draw: st.DrawFn, files: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A file edited in its parts, as it falls, or both; few claim megapixels: one takes as long as a thousand."""
    data = draw(st.sampled_from(files))
    if draw(st.integers(0, 99)) == 99:
        sides = draw(_SIDES), draw(_SIDES)
        for before, count, packed in _SIZES:
            if found := re.search(before + b".{%d}" % count, data, re.DOTALL):
                data = data[: found.start()] + packed(*sides) + data[found.end() :]
    join, parts = parts_of(data)
    for _ in range(draw(st.sampled_from((0, 1, 1, 2, 3))) if parts else 0):
        at = draw(st.integers(0, len(parts) - 1))
        kind = draw(st.integers(0, 5))
        if kind == 0:
            parts.insert(draw(st.integers(0, len(parts))), parts[at])
        elif kind == 1:
            parts[at : at + 1] = [parts[at]] * draw(st.sampled_from((0, 2, 10, 200)))
        elif kind == 2:
            parts[at:at] = parts_of(draw(st.sampled_from(files)))[1][-3:]
        else:
            parts[at] = _edited(draw, parts[at], files, words)
        if not parts:
            break
    data = join(parts)
    return data if draw(st.integers(0, 4)) else _edited(draw, data, files, words)


def parts_of(data: bytes) -> tuple[Join, list[bytes]]:
    """What makes a file of parts, with right lengths and checksums, and the parts: of PNG, WebP or JPEG, or one."""
    parts = []
    if data.startswith(b"\x89PNG"):
        at = 8
        while at + 8 <= len(data):
            end = at + 8 + int.from_bytes(data[at : at + 4], "big")
            parts.append(data[at + 4 : end])
            at = end + 4
        return _png, [*map(_inflated, parts)]
    if data.startswith(b"RIFF"):
        at = 12
        while at + 8 <= len(data):
            size = int.from_bytes(data[at + 4 : at + 8], "little")
            parts.append(data[at : at + 4] + data[at + 8 : at + 8 + size])
            at += 8 + size + size % 2
        return _webp, parts
    if data.startswith(b"\xff\xd8"):
        at = 2
        while data[at : at + 1] == b"\xff" and data[at : at + 2] != b"\xff\xda":
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            parts.append(data[at:end])
            at = end
        return _jpeg, parts + re.split(rb"(?=\xff[\xc4\xda\xd9])", data[at:])
    return b"".join, [data]


def _inflated(part: bytes) -> bytes:
    """An IDAT that stands alone with what it holds when inflated."""
    try:
        return part if part[:4] != b"IDAT" else b"INFL" + zlib.decompress(part[4:])
    except zlib.error:
        return part


def _png(parts: list[bytes]) -> bytes:
    whole = [b"IDAT" + zlib.compress(part[4:], 1) if part[:4] == b"INFL" else part for part in parts]
    chunks = [struct.pack(">I", max(len(p) - 4, 0)) + p + struct.pack(">I", zlib.crc32(p)) for p in whole]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _webp(parts: list[bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        part[:4] + struct.pack("<I", max(len(part) - 4, 0)) + part[4:] + bytes(len(part) % 2)
        for part in parts
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _jpeg(parts: list[bytes]) -> bytes:
    """The scan behind a header of a scan (\xff\xda) has no length of its own."""
    return b"\xff\xd8" + b"".join(
        part[:2] + struct.pack(">H", min(len(part) - 2, 65_535)) + part[4:]
        if len(part) > 4 and part[:2] != b"\xff\xda"
        else part
        for part in parts
    )


def texts(words: Sequence[str], longest: int) -> st.SearchStrategy[bytes]:
    """Words, some repeated many times, with other characters between them, as UTF-8."""
    word = st.one_of(st.sampled_from(words), st.sampled_from(words), st.characters())
    times = st.sampled_from((1, 1, 1, 1, 2, 3, 30, 400, longest))
    pieces = st.lists(st.tuples(word, times).map(lambda pair: (pair[0] * pair[1])[:longest]), max_size=60)
    return pieces.map(lambda found: "".join(found)[:longest].encode("utf-8", "surrogatepass"))
