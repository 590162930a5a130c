"""Strategies of Hypothesis: seeds with edits, images that claim other sizes, words of parsers."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import strategies as st

CORPUS = Path(__file__).with_name(
    "corpus"
)  # small files of all kinds, of Pillow 12; another version writes others
_LONGEST = 100_000  # bytes of a case: a longer one only costs time
_EDGES = (0, 1, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_NUMBERS = [struct.pack(f"{order}I", number) for number in _EDGES for order in "<>"]
_SIDES = st.sampled_from((1, 100, 3_000, 7_000, 16_383))
# What stands before width and height in a file, how many bytes they take, and these bytes.
_SIZES: tuple[tuple[bytes, int, Callable[[int, int], bytes]], ...] = (
    (rb"(?<=IHDR)", 8, lambda width, height: struct.pack(">II", width, height)),
    (rb"(?<=\xff[\xc0\xc2]..\x08)", 4, lambda width, height: struct.pack(">HH", height, width)),
    (rb"(?<=VP8 ..........)", 4, lambda width, height: struct.pack("<HH", width, height)),
    (rb"(?<=VP8L.....)", 4, lambda width, height: struct.pack("<I", (width - 1) | (height - 1) << 14)),
    (rb"(?<=VP8X........)", 6, lambda w, h: struct.pack("<I", w - 1)[:3] + struct.pack("<I", h - 1)[:3]),
)
# Markers of JPEG, chunks of PNG and WebP, boxes of AVIF and HEIC, heads of TIFF.
_IMAGE_WORDS = (
    *(b"\xff" + bytes([marker]) for marker in b"\xc0\xc2\xc4\xc9\xd0\xd8\xd9\xda\xdb\xdd\xe1"),
    *b"IHDR IDAT fdAT fcTL acTL PLTE tRNS iCCP zTXt eXIf IEND VP8L VP8X ANIM ANMF ALPH ICCP EXIF II*\0".split(),
    *b"ftyp meta iloc ispe av1C hvcC irot imir grid mdat Exif\0\0 MM\0*".split(),
)
# Entities in all spellings, text decoded wrongly once or twice, marks that combine, emoji, halves of pairs.
_WORDS = """cat &amp; amp; & &lt; &# &#x 38; &#38; &#0; &#xD800; &#1114112; &notin; &NotEqualTilde;
ï¼† ＆ａｍｐ； ＃ ﬁ Ã© â€™ Ã¢â‚¬â„¢ ÃƒÂ© Ð¿Ñ€ æ—¥ ä½ “” \u0300 \u0345 \u1ab0 \u0e33 \u1161\u11a8
\uac00 \u202e \u200d \u200b \ufeff \ufffe 👨‍👩‍👧‍👦 🇩🇪 🏴\U000e0067 \ud83d \udc00 \U0010ffff İ ß ς ﷺ
\u0130\u0307 [CLS] [SEP] ##ing <end_of_text> 's 1"""
_TEXT_WORDS = (*_WORDS.split(), " ", "\r\n", "\t", "\u2028", "\xa0", "\0", "\x1b[0m")


@st.composite
def edited(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """A seed in which pieces are overwritten, repeated, moved, left out, or taken from words and other seeds."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3, 6)))):
        at, size = draw(st.integers(0, len(data))), draw(st.sampled_from((1, 2, 4, 32, 256, _LONGEST)))
        kind = draw(st.integers(0, 5))
        if kind <= 1:
            new = draw(st.one_of(st.binary(max_size=4), st.sampled_from(_NUMBERS)))
        elif kind <= 3:
            new = draw(st.sampled_from(words)) * draw(st.sampled_from((1, 1, 2, 50, 2_000)))
        elif kind == 4:
            other = draw(st.sampled_from([data, *seeds]))
            begin = draw(st.integers(0, len(other)))
            new = other[begin : begin + size] * draw(st.sampled_from((1, 2, 100)))
        else:
            new = b""
        gone = draw(st.sampled_from((len(new), len(new), 0, size)))
        data = (data[:at] + new + data[at + gone :])[:_LONGEST]
    return data


@st.composite
def images(draw: st.DrawFn, folder: str) -> bytes:
    """A file of this folder of the corpus, edited; few claim megapixels: one takes as long as a thousand."""
    files = [path.read_bytes() for path in sorted((CORPUS / folder).iterdir())]
    data = draw(st.one_of(edited(files, _IMAGE_WORDS), st.sampled_from(files)))
    if draw(st.integers(0, 30)) == 30:
        sides = draw(_SIDES), draw(_SIDES)
        for before, count, packed in _SIZES:
            if found := re.search(before + b".{%d}" % count, data, re.DOTALL):
                data = data[: found.start()] + packed(*sides) + data[found.end() :]
    return _summed(data) if data.startswith(b"\x89PNG") else data


def _summed(png: bytes) -> bytes:
    """With right checksums: a reader looks no further than the first that is wrong."""
    whole, at = bytearray(png), 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        whole[end : end + 4] = struct.pack(">I", zlib.crc32(png[at + 4 : end]))
        at = end + 4
    return bytes(whole)


def texts(longest: int) -> st.SearchStrategy[str]:
    """Words, some repeated many times, with other characters between them."""
    word = st.one_of(st.sampled_from(_TEXT_WORDS), st.sampled_from(_TEXT_WORDS), st.characters())
    pieces = st.tuples(word, st.sampled_from((1, 1, 1, 2, 30, longest)))
    many = st.lists(pieces.map(lambda pair: (pair[0] * pair[1])[:longest]), max_size=60)
    return many.map(lambda found: "".join(found)[:longest])
