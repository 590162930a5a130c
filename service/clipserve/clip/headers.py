"""Counts the parts of an image file before a decoder reads them.

Pillow keeps each segment of a JPEG and each chunk of a PNG before the pixels, joins those of one kind, and inflates
colour profiles: a file of many small parts takes it seconds. The walks here only jump from part to part. They stop
at the end of the file or where it is broken; Pillow then reports the fault.
"""

from __future__ import annotations

import re
from collections import Counter

from clipserve.errors import ImageTooLarge, check_limit

# The counted parts, by their names in errors.
SEGMENTS, METADATA, SCANS = "segments or chunks besides its pixels", "bytes besides its pixels", "scans"
_PIXEL_PARTS, _PROFILES = "chunks of pixels", "colour profiles"
_STRAY_BYTES, _PHOTOSHOP = "bytes between its segments", "segments of Photoshop's"
_LIMITS = {
    # Writers cut frames into pieces of 4 to 64 KB. Many small ones cost time too.
    _PIXEL_PARTS: 50_000,
    _PROFILES: 1,  # of a PNG: a small profile may inflate to a megabyte
    # Pillow reads bytes between segments one by one, in Python, and Photoshop's data in APP13 in blocks of 12 bytes
    # or more: a megabyte of either takes it half a second.
    _STRAY_BYTES: 65_536,
    _PHOTOSHOP: 16,
}
# Before the first scan each marker counts. In the data of a scan, 0xFF followed by 0 is not a marker, and restart
# markers belong to the data.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_SOS, _EOI, _APP13 = 0xDA, 0xD9, 0xED
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC9))  # frames that one scan may hold completely
# Markers without a length, in Pillow: TEM and JPG, restarts, start and end of image, JPG0 to JPG13.
_BARE_MARKERS = frozenset((0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))
_WINDOW = 1 << 18
_BOX_HEAD = 8  # bytes: size and kind
_PNG_KIND = re.compile(rb"\w{4}")
_PNG_PIXELS = frozenset((b"IDAT", b"fdAT", b"fcTL"))
_WEBP_PIXELS = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ANMF"))


class Parts(Counter[str]):
    """The counts of a walk, and its limits.

    Segments and metadata bytes are those of all parts without pixels and of the bytes between them; scans are those
    of a JPEG with several.
    """

    def __init__(self, max_segments: int, max_metadata_bytes: int, max_scans: int) -> None:
        super().__init__()
        self.limits = _LIMITS | {SEGMENTS: max_segments, METADATA: max_metadata_bytes, SCANS: max_scans}

    def add(self, what: str, count: int = 1) -> None:
        """Count parts. The walk stops at a limit, so the error has the least count that the file can have.

        Raises:
            ImageTooLarge: a limit is exceeded.
        """
        self[what] += count
        check_limit(ImageTooLarge, "the image has at least {:,} " + what, self[what], self.limits[what])

    def add_metadata(self, size: int) -> None:
        self.add(SEGMENTS)
        self.add(METADATA, size)


def walk(name: str, data: bytes, parts: Parts) -> Parts:
    """Count the parts of a file of format `name` into `parts`; formats other than JPEG, PNG and WEBP have none.

    Raises:
        ImageTooLarge: more segments, metadata or scans than `parts` allows.
    """
    if name in _WALKS:
        _WALKS[name](data, parts)
    return parts


def check_whole(name: str, data: bytes) -> None:
    """Raises ValueError: a HEIC is cut short. Its decoder would make the tiles that are missing green."""
    at = 0 if name == "HEIC" else len(data)
    while at + _BOX_HEAD <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:  # it stands behind the kind
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if kind == b"mdat" and at + size > len(data):
            raise ValueError("the pixels are not whole")
        if size < _BOX_HEAD:  # 0: up to the end; else broken, which the decoder tells
            return
        at += size


def _walk_jpeg(data: bytes, parts: Parts) -> None:
    at, in_frame = 2, 0  # after the start of the image; components of a sequential JPEG
    while match := _next_marker(data, at, parts):
        start, at, marker = at, match.end(), data[match.end() - 1]
        if not parts[SCANS]:
            parts.add(_STRAY_BYTES, match.start() - start)
        if marker == _APP13:
            parts.add(_PHOTOSHOP)
        if marker == _SOS:
            in_scan = _byte(data, at + 2)
            if not parts[SCANS] and in_scan == in_frame > 0:
                return  # the scan has the whole sequential JPEG; the decoder reads no other scan
            parts.add(SCANS)
            if int.from_bytes(data[at : at + 2], "big") == 6 + 2 * in_scan:
                at += 6 + 2 * in_scan  # the decoder refuses a header of another length
        elif marker == _EOI and parts[SCANS]:
            return  # another file follows, such as the video of a motion photo
        else:
            if parts[SCANS]:
                start = at  # the bytes before it are pixels
            elif marker in _SEQUENTIAL and not in_frame:
                in_frame = _byte(data, at + 7)
            if marker not in _BARE_MARKERS:
                at += max(2, int.from_bytes(data[at : at + 2], "big"))
            parts.add_metadata(min(at, len(data)) - start)
    if not parts[SCANS]:
        parts.add(_STRAY_BYTES, len(data) - at)


def _next_marker(data: bytes, at: int, parts: Parts) -> re.Match[bytes] | None:
    """Find the next marker, in windows: `search` holds the GIL, and hostile bytes make it 20 times slower."""
    pattern, end = _MARKER_AFTER_SCAN, len(data)
    if not parts[SCANS]:
        pattern, end = _MARKER, min(end, at + parts.limits[METADATA] + 2)
    for start in range(at, end, _WINDOW):
        if match := pattern.search(data, start, start + _WINDOW + 1):
            return match
    return None


def _byte(data: bytes, at: int) -> int:
    return data[at] if at < len(data) else 0


def _walk_png(data: bytes, parts: Parts) -> None:
    at = 8
    while (kind := data[at + 4 : at + 8]) != b"IEND" and _PNG_KIND.fullmatch(kind):
        size = int.from_bytes(data[at : at + 4], "big") + 12  # with length, kind and checksum
        if kind in _PNG_PIXELS:
            parts.add(_PIXEL_PARTS)
        else:
            parts.add_metadata(min(size, len(data) - at))  # a length may exceed the file
        if kind == b"iCCP":
            parts.add(_PROFILES)
        at += size


def _walk_webp(data: bytes, parts: Parts) -> None:
    at, end = 12, min(len(data), int.from_bytes(data[4:8], "little") + 8)
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        size += 8 + size % 2
        if data[at : at + 4] in _WEBP_PIXELS:
            parts.add(_PIXEL_PARTS)
        else:
            parts.add_metadata(min(size, end - at))
        at += size


_WALKS = {"JPEG": _walk_jpeg, "PNG": _walk_png, "WEBP": _walk_webp}
