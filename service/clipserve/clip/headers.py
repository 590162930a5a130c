"""The parts of an image file, counted before a decoder reads them.

Pillow keeps each segment of a JPEG and each chunk of a PNG that comes before the pixels, joins those of one kind,
and inflates colour profiles: a file of many small parts costs it seconds. The walks here only jump from part to
part. They end where the file ends or is broken; Pillow then says what is wrong with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clipserve.errors import ImageTooLarge

# Parts that hold pixels, frame by frame: writers cut them into pieces of 4 to 64 KB. Many small ones cost time too.
_MAX_PIXEL_PARTS = 50_000
# Before the first scan each marker counts. In the data of a scan 0xFF is followed by 0 where it is no marker, and
# restart markers belong to the data.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_SOS, _EOI, _APP13 = 0xDA, 0xD9, 0xED
# Pillow goes byte by byte, in Python, through what lies between segments, and block by block, of 12 bytes or more,
# through what Photoshop leaves in APP13: a megabyte of either takes it half a second.
_MAX_STRAY_BYTES, _MAX_PHOTOSHOP_SEGMENTS = 65_536, 16
_SEQUENTIAL = frozenset((0xC0, 0xC1, 0xC9))  # frames that one scan may hold whole
# Markers that no length follows, for Pillow: TEM and JPG, restarts, start and end of image, JPG0 to JPG13.
_BARE_MARKERS = frozenset((0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)))
_WINDOW = 1 << 18
_PNG_KIND = re.compile(rb"\w{4}")
_PNG_PIXELS = frozenset((b"IDAT", b"fdAT", b"fcTL"))
_WEBP_PIXELS = frozenset((b"VP8 ", b"VP8L", b"ALPH", b"ANMF"))


@dataclass
class Parts:
    """What a walk has found so far, and the limits at which it ends.

    `segments` and `metadata_bytes` are of all parts without pixels, with what lies between them; `scans` are those
    of a JPEG that has its pixels in several, 0 for others.
    """

    max_segments: int
    max_metadata_bytes: int
    max_scans: int
    segments: int = 0
    metadata_bytes: int = 0
    pixel_parts: int = 0
    scans: int = 0
    stray_bytes: int = 0
    photoshop: int = 0

    def add_metadata(self, size: int) -> None:
        self.segments += 1
        self.metadata_bytes += size
        _check(self.segments, self.max_segments, "segments or chunks besides its pixels")
        _check(self.metadata_bytes, self.max_metadata_bytes, "bytes besides its pixels")

    def add_stray(self, size: int) -> None:
        self.stray_bytes += size
        _check(self.stray_bytes, _MAX_STRAY_BYTES, "bytes between its segments")

    def add_photoshop(self) -> None:
        self.photoshop += 1
        _check(self.photoshop, _MAX_PHOTOSHOP_SEGMENTS, "segments of Photoshop's")

    def add_pixels(self) -> None:
        self.pixel_parts += 1
        _check(self.pixel_parts, _MAX_PIXEL_PARTS, "chunks of pixels")

    def add_scan(self) -> None:
        self.scans += 1
        _check(self.scans, self.max_scans, "scans")


def _check(actual: int, limit: int, what: str) -> None:
    """The walk ends here, so the count is the least that the file has."""
    if actual > limit:
        raise ImageTooLarge(
            f"the image has at least {actual:,} {what}; the limit is {limit:,}.", limit=limit, actual=actual
        )


def walk(name: str, data: bytes, parts: Parts) -> Parts:
    """Count the parts of a file of format `name` into `parts`; formats other than JPEG, PNG and WEBP have none.

    Raises:
        ImageTooLarge: more segments, metadata or scans than `parts` allows.
    """
    if name in _WALKS:
        _WALKS[name](data, parts)
    return parts


def _walk_jpeg(data: bytes, parts: Parts) -> None:
    at, in_frame = 2, 0  # behind the start of the image; components of a sequential JPEG
    while match := _next_marker(data, at, parts):
        start, at, marker = at, match.end(), data[match.end() - 1]
        if not parts.scans:
            parts.add_stray(match.start() - start)
        if marker == _APP13:
            parts.add_photoshop()
        if marker == _SOS:
            in_scan = _byte(data, at + 2)
            if not parts.scans and in_scan == in_frame > 0:
                return  # the scan holds all of a sequential JPEG; the decoder takes no other
            parts.add_scan()
            if int.from_bytes(data[at : at + 2], "big") == 6 + 2 * in_scan:
                at += 6 + 2 * in_scan  # the decoder refuses a header of another length
        elif marker == _EOI and parts.scans:
            return  # what follows is another file: the film of a motion photo, for example
        else:
            if parts.scans:
                start = at  # what lies before it is pixels
            elif marker in _SEQUENTIAL and not in_frame:
                in_frame = _byte(data, at + 7)
            if marker not in _BARE_MARKERS:
                at += max(2, int.from_bytes(data[at : at + 2], "big"))
            parts.add_metadata(min(at, len(data)) - start)
    if not parts.scans:
        parts.add_stray(len(data) - at)


def _next_marker(data: bytes, at: int, parts: Parts) -> re.Match[bytes] | None:
    """In windows: `search` holds the interpreter's lock, and on hostile bytes it is 20 times slower than usual."""
    pattern, end = _MARKER_AFTER_SCAN, len(data)
    if not parts.scans:
        pattern, end = _MARKER, min(end, at + parts.max_metadata_bytes + 2)
    for start in range(at, end, _WINDOW):
        if match := pattern.search(data, start, start + _WINDOW + 1):
            return match
    return None


def _byte(data: bytes, at: int) -> int:
    return data[at] if at < len(data) else 0


def _walk_png(data: bytes, parts: Parts) -> None:
    at, profiles = 8, 0
    while (kind := data[at + 4 : at + 8]) != b"IEND" and _PNG_KIND.fullmatch(kind):
        size = int.from_bytes(data[at : at + 4], "big") + 12  # with length, kind and checksum
        if kind in _PNG_PIXELS:
            parts.add_pixels()
        else:
            parts.add_metadata(min(size, len(data) - at))  # a length may claim more than there is
        if kind == b"iCCP":
            profiles += 1
            _check(profiles, 1, "colour profiles")  # a small one may inflate to a megabyte
        at += size


def _walk_webp(data: bytes, parts: Parts) -> None:
    at, end = 12, min(len(data), int.from_bytes(data[4:8], "little") + 8)
    while at + 8 <= end:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        size += 8 + size % 2
        if data[at : at + 4] in _WEBP_PIXELS:
            parts.add_pixels()
        else:
            parts.add_metadata(min(size, end - at))
        at += size


_WALKS = {"JPEG": _walk_jpeg, "PNG": _walk_png, "WEBP": _walk_webp}
