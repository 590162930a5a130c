"""The fields of a protobuf message as bytes, for messages of which not all should be read or copied.

The encoding is that of https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

_FIXED_BYTES = {1: 8, 5: 4}  # of wire types


def fields(data: mmap.mmap | bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Of each field of a message its number, and where it, its content and the next field begin.

    The content of a number is its varint.

    Raises:
        ValueError, IndexError: the message is cut short, or none.
    """
    while at < end:
        tag, begin = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            next_at = _varint(data, begin)[1]
        elif kind == 2:
            size, begin = _varint(data, begin)
            next_at = begin + size
        elif kind in _FIXED_BYTES:
            next_at = begin + _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field has the wire type {kind}")
        if next_at > end:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, at, begin, next_at
        at = next_at


def head(number: int, length: int) -> bytes:
    """The beginning of a field of so many bytes, whose number is below 16: its tag, and the length as a varint."""
    groups = bytearray((number << 3 | 2,))
    while length > 0x7F:
        groups.append(length & 0x7F | 0x80)
        length >>= 7
    groups.append(length)
    return bytes(groups)


def _varint(data: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    """The number, and where the next begins."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
