"""Image files taken apart into their parts and put together again, so that a mutation gets past the checksums."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace

_BARE = frozenset((0x01, *range(0xD0, 0xDA)))  # JPEG markers that no length follows
_SOS = 0xDA


@dataclass(frozen=True)
class Part:
    """`kind`: a marker, or the name of a chunk; empty for bytes that belong to no part."""

    kind: bytes
    body: bytes


def split(data: bytes) -> tuple[bytes, list[Part]]:
    """The bytes by which the format is known, and the parts behind them; none where the format has no parts."""
    for head, take in (
        (b"\x89PNG\r\n\x1a\n", _split_png),
        (b"\xff\xd8", _split_jpeg),
        (b"RIFF", _split_riff),
    ):
        if data.startswith(head):
            return head, take(data)
    return data, []


def join(head: bytes, parts: list[Part]) -> bytes:
    """A file with right lengths and checksums."""
    if head.startswith(b"\x89PNG"):
        return head + b"".join(map(_png_chunk, parts))
    if head == b"RIFF":
        body = b"WEBP" + b"".join(map(_riff_chunk, parts))
        return head + struct.pack("<I", len(body) % (1 << 32)) + body
    return head + b"".join(map(_jpeg_segment, parts))


def inflated(part: Part) -> Part | None:
    """An IDAT whose body is what it holds when inflated, or nothing where it is no IDAT that stands alone."""
    if part.kind != b"IDAT":
        return None
    try:
        return replace(part, body=zlib.decompress(part.body))
    except zlib.error:
        return None


def deflated(part: Part) -> Part:
    return replace(part, body=zlib.compress(part.body, 1))


def _split_png(data: bytes) -> list[Part]:
    parts, at = [], 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        parts.append(Part(data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    return parts


def _png_chunk(part: Part) -> bytes:
    if not part.kind:
        return part.body
    sum_ = zlib.crc32(part.kind + part.body)
    return struct.pack(">I", len(part.body)) + part.kind + part.body + struct.pack(">I", sum_)


def _split_jpeg(data: bytes) -> list[Part]:
    parts, at = [], 2
    while at + 2 <= len(data):
        kind = data[at : at + 2]
        if kind[0] != 0xFF or kind[1] in _BARE:
            end = data.find(b"\xff", at + 2)
            end = len(data) if end < 0 else end
            parts.append(Part(b"", data[at:end]))
        else:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            parts.append(Part(kind, data[at + 4 : end]))
            if kind[1] == _SOS:
                stop = _end_of_scan(data, end)
                parts.append(Part(b"", data[end:stop]))
                end = stop
        at = max(end, at + 2)
    return parts


def _end_of_scan(data: bytes, at: int) -> int:
    while (at := data.find(b"\xff", at)) >= 0:
        if data[at + 1 : at + 2] not in (b"\0", *(bytes([m]) for m in range(0xD0, 0xD8))):
            return at
        at += 2
    return len(data)


def _jpeg_segment(part: Part) -> bytes:
    if not part.kind:
        return part.body
    return part.kind + struct.pack(">H", (len(part.body) + 2) % 65_536) + part.body


def _split_riff(data: bytes) -> list[Part]:
    parts, at = [], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        parts.append(Part(data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return parts


def _riff_chunk(part: Part) -> bytes:
    return part.kind + struct.pack("<I", len(part.body)) + part.body + bytes(len(part.body) % 2)
