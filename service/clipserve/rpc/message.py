"""Counts the fields and bytes of a protobuf message before it is parsed.

The parser would build an object for each field of as little as two bytes. So fields are counted in the bytes first,
those of inner messages too, and images apart: they may be many bytes, but are not many objects.
"""

from __future__ import annotations

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


def parsed(kind: type[M], data: bytes, max_bytes: int) -> M:
    """A message. `max_bytes`: besides its images.

    Raises:
        MalformedRequest: the bytes are not a message of this kind.
        BodyTooLarge: there are more than `max_bytes` besides images.
        TooMany: there are more than MAX_IMAGES images, or MAX_FIELDS other fields.
    """
    _Count(max_bytes).add(kind.DESCRIPTOR, data, 0, len(data))
    try:
        message: M = kind.FromString(data)
    except DecodeError:
        raise _malformed() from None
    return message


def size_to_parse(kind: type[Message], data: bytes) -> int:
    """About how many bytes `parsed` looks at: none of images, which are only copied, if the rest is short."""
    with suppress(ClipError):
        _Count(SHORT).add(kind.DESCRIPTOR, data, 0, len(data))
        return 0
    return len(data)


class _Count:
    """Of a message and its inner messages together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._images = self._fields = self._bytes = 0

    def add(self, descriptor: Any, data: bytes, begin: int, end: int) -> None:
        inner, at = _inner(descriptor), begin
        while at < end:
            tag, start = _varint(data, at)
            start, after = _value(data, start, end, tag & 7)
            kind = inner.get(tag >> 3) if tag & 7 == _BYTES else None
            if kind is bytes:
                self._images += 1
            else:
                self._fields += 1
                self._bytes += (after if kind is None else start) - at
            if self._images > MAX_IMAGES or self._fields > MAX_FIELDS or self._bytes > self._max_bytes:
                raise self._refusal()
            if kind not in (None, bytes):
                self.add(kind, data, start, after)
            at = after

    def _refusal(self) -> ClipError:
        if (size := self._bytes) > (most := self._max_bytes):
            said = f"the message has {size:,} bytes or more besides its images; the limit is {most:,}."
            return BodyTooLarge(said, limit=most, actual=size)
        what, limit = "fields besides its images", MAX_FIELDS
        if self._images > MAX_IMAGES:
            what, limit = "images", MAX_IMAGES
        return TooMany(f"the message has more than {limit:,} {what}.", limit=limit, actual=limit + 1)


@cache
def _inner(descriptor: Any) -> dict[int, Any]:
    """A message's fields of images and of messages: number -> bytes, or the descriptor of the message."""
    return {
        field.number: field.message_type or bytes
        for field in descriptor.fields
        if field.type in (field.TYPE_BYTES, field.TYPE_MESSAGE)
    }


def _value(message: bytes, at: int, most: int, wire_type: int) -> tuple[int, int]:
    """Where the value of a field begins and ends, which is at `most` where its message ends."""
    if wire_type == _BYTES:
        size, at = _varint(message, at)
        end = at + size
    elif wire_type == _VARINT:
        end = _varint(message, at)[1]
    elif wire_type in (_FIXED32, _FIXED64):
        end = at + (4 if wire_type == _FIXED32 else 8)
    else:
        raise _malformed()
    if end > most:
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
