"""What an image announces in its first bytes: its format, its size, and the memory to decode it.

This reads bytes in Python alone, and few of them, so it may run where requests wait for each other. It knows only
what good files have; of all else it says nothing, and a decoder is asked (`clipserve.clip.images`). A decoder
refuses a file that is larger than it announces, so a false announcement gains nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipserve.clip.decode_cost import Frame
from clipserve.clip.formats import sniff
from clipserve.clip.images import ImageHeader, check_size
from clipserve.errors import ImageTooLarge

if TYPE_CHECKING:
    from clipserve.clip.images import ImageLimits
    from clipserve.clip.manifest import ImageSpec

_MAX_SEGMENTS = 200  # of a JPEG: a tenth of a millisecond
_APP1, _SOS, _TABLES = 0xE1, 0xDA, frozenset((0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_SEQUENTIAL, _PROGRESSIVE = frozenset((0xC0, 0xC1, 0xC9)), frozenset((0xC2, 0xCA))  # frames
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}  # by the number of components
_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "RGBA", 6: "RGBA"}  # by the type of colour
_PNG_GREY_MODES = {1: "1", 16: "I;16"}  # by the bits of a pixel


def announced(data: bytes, spec: ImageSpec, limits: ImageLimits) -> ImageHeader | None:
    """The pixels of an image, and an upper bound for the memory to decode it; None: ask a decoder.

    Raises:
        UnsupportedFormat: not one of `limits.image_formats`.
    """
    name = sniff(data, limits.image_formats)
    frame = _FRAMES[name](data) if name in _FRAMES else None
    if frame is None or 0 in frame.size:
        return None
    try:
        check_size(frame.size, limits)
    except ImageTooLarge:
        return None  # or it is broken
    return ImageHeader.of(frame, len(data), spec, limits)


def _jpeg(data: bytes) -> Frame | None:
    """Follow the segments to the first scan, which has all components unless the file has several scans."""
    at, oriented, frame = 2, False, 0
    for _ in range(_MAX_SEGMENTS):
        if len(data) < at + 10 or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == _SOS:
            break
        if marker in _SEQUENTIAL or marker in _PROGRESSIVE:
            if frame:
                return None
            frame = at + 4
        elif marker not in _TABLES:
            return None
        oriented |= marker == _APP1
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    else:
        return None
    components = data[frame + 5]
    if not frame or components not in _JPEG_MODES:
        return None
    factors = data[frame + 7 : frame + 6 + 3 * components : 3]
    if data[frame - 3] in _SEQUENTIAL and data[at + 4] == components:
        factors = b""
    size = (
        int.from_bytes(data[frame + 3 : frame + 5], "big"),
        int.from_bytes(data[frame + 1 : frame + 3], "big"),
    )
    layers = [(each >> 4, each & 15) for each in factors]
    return Frame("JPEG", _JPEG_MODES[components], size, oriented, layers) if all(map(all, layers)) else None


def _png(data: bytes) -> Frame | None:
    if data[12:16] != b"IHDR" or len(data) < 26:
        return None
    bits, colour = data[24:26]
    mode = _PNG_MODES.get(colour)
    if mode == "L":
        mode = _PNG_GREY_MODES.get(bits, mode)
    size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return Frame("PNG", mode, size) if mode else None


def _webp(data: bytes) -> Frame | None:
    """In the extended and the lossless layout it may have alpha."""
    if len(data) < 30:
        return None
    kind = data[12:16]
    if kind == b"VP8 ":
        size = int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
        return Frame("WEBP", "RGB", size)
    if kind == b"VP8L":
        sides = int.from_bytes(data[21:25], "little")
        return Frame("WEBP", "RGBA", ((sides & 0x3FFF) + 1, (sides >> 14 & 0x3FFF) + 1))
    if kind == b"VP8X":
        size = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        return Frame("WEBP", "RGBA", size)
    return None


_FRAMES = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp}
