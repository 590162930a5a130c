"""Takes a protobuf message apart and checks its limits before it is parsed.

The parser would build an object for each field of as little as two bytes, and copy every image. So the outermost
fields are split first: images, weights and inner messages are cut out of the bytes, and all other fields are
counted and limited. Only the labels of a label set are inner messages: each is taken apart in its turn, and counted
with the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from clipserve.concurrency import SHORT
from clipserve.errors import BodyTooLarge, ClipError, MalformedRequest, TooMany

MAX_IMAGES = 4_096
MAX_FIELDS = 65_536  # besides images: they are counted in 50 ms

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # the wire types except groups
_MAX_VARINT = 10  # bytes

M = TypeVar("M", bound=Message)

Parts = dict[str, list[bytes]]  # field -> images, or inner messages


class MessageParser:
    """Parses a message and its inner messages. The limits are for all of them together."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: besides images."""
        self._max_bytes = max_bytes
        self._images = self._fields = self._bytes = 0

    def parse(self, kind: type[M], data: bytes) -> tuple[M, Parts]:
        """A message without its images and inner messages, and these by the names of their fields.

        Raises:
            MalformedRequest: the bytes are not a message of this kind.
            BodyTooLarge: there are more than `max_bytes` besides images.
            TooMany: there are more than MAX_IMAGES images, or MAX_FIELDS other fields.
        """
        cut = _cut_fields(kind.DESCRIPTOR)
        parts: Parts = {name: [] for name, _ in cut.values()}
        rest: list[bytes] = []
        for number, wire_type, at, start, end in _fields(data):
            if wire_type != _BYTES or number not in cut:
                self._count(end - at)
                rest.append(data[at:end])
                continue
            name, is_message = cut[number]
            if is_message:  # its content is counted when it is taken apart
                self._count(start - at)
            else:
                self._count_image()
            parts[name].append(data[start:end])
        return parsed(kind, b"".join(rest)), parts

    def _count_image(self) -> None:
        self._images += 1
        if self._images > MAX_IMAGES:
            raise _too_many("images", MAX_IMAGES)

    def _count(self, size: int) -> None:
        self._bytes += size
        self._fields += 1
        if self._bytes > self._max_bytes:
            raise BodyTooLarge(
                f"the message has {self._bytes:,} bytes or more besides its images; the limit is "
                f"{self._max_bytes:,}.",
                limit=self._max_bytes,
                actual=self._bytes,
            )
        if self._fields > MAX_FIELDS:
            raise _too_many("fields besides its images", MAX_FIELDS)


def bytes_to_parse(kind: type[Message], data: bytes) -> int:
    """The number of bytes besides images, which are only cut out. Not all are counted above `SHORT`."""
    if len(data) <= SHORT:
        return len(data)
    cut, size = _cut_fields(kind.DESCRIPTOR), 0
    with suppress(MalformedRequest):
        for number, wire_type, at, start, end in _fields(data):
            is_image = wire_type == _BYTES and number in cut and not cut[number][1]
            size += (start if is_image else end) - at
            if size > SHORT:
                break
    return size


def parsed(kind: type[M], data: bytes) -> M:
    """Parse a message. Raises MalformedRequest: the bytes are not a message of this kind."""
    try:
        message: M = kind.FromString(data)
    except DecodeError:
        raise _malformed() from None
    return message


@cache
def _cut_fields(descriptor: Any) -> dict[int, tuple[str, bool]]:
    """A message's fields of bytes and of messages: number -> name, and whether it is of messages."""
    return {
        field.number: (field.name, field.type == field.TYPE_MESSAGE)
        for field in descriptor.fields
        if field.type in (field.TYPE_BYTES, field.TYPE_MESSAGE)
    }


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Of each field its number and its wire type, and where it, its value and the next field begin."""
    at = 0
    while at < len(message):
        tag, start = _varint(message, at)
        start, end = _value(message, start, tag & 7)
        yield tag >> 3, tag & 7, at, start, end
        at = end


def _value(message: bytes, at: int, wire_type: int) -> tuple[int, int]:
    """Where the value of a field begins and ends."""
    if wire_type == _BYTES:
        size, at = _varint(message, at)
        end = at + size
    elif wire_type == _VARINT:
        end = _varint(message, at)[1]
    elif wire_type in (_FIXED32, _FIXED64):
        end = at + (4 if wire_type == _FIXED32 else 8)
    else:
        raise _malformed()
    if end > len(message):
        raise _malformed()
    return at, end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first, as long as the highest bit is set; and where it ends."""
    if at < len(message) and (byte := message[at]) < 0x80:  # nearly all have one byte
        return byte, at + 1
    value = 0
    for place, byte in enumerate(message[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise _malformed()


def _malformed() -> ClipError:
    return MalformedRequest(
        "the bytes are not a message of this method. Send it as clip.proto has it, and not compressed."
    )


def _too_many(what: str, limit: int) -> ClipError:
    return TooMany(f"the message has more than {limit:,} {what}.", limit=limit, actual=limit + 1)
