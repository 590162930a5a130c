"""A message of protocol buffers, taken apart and bounded before it is parsed.

The parser would build an object for each field of as little as two bytes, and copy every image. So the outermost
fields are walked first: images are cut out of the bytes, and what is left is counted and has a limit. Messages of
this front are flat: no field that is left holds another message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.errors import BodyTooLarge, ClipError, MalformedRequest, TooMany

MAX_IMAGES = 4_096
MAX_FIELDS = 65_536  # besides images: a walk of 50 ms

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # the wire types that are not of groups
_MAX_VARINT = 10  # bytes


Images = Mapping[str, Sequence[bytes]]  # by the names of their fields


def take_apart(unread: list[bytes], image_fields: Mapping[int, str], max_bytes: int) -> tuple[Images, bytes]:
    """The images of a message, and all its other fields as a message.

    It is the one item of `unread`, and is taken out of it. `image_fields`: number -> name.

    Raises:
        MalformedRequest: the bytes are no message.
        BodyTooLarge: it holds more than `max_bytes` besides its images.
        TooMany: it has more than MAX_IMAGES images, or MAX_FIELDS other fields.
    """
    message = unread.pop()
    images: dict[str, list[bytes]] = {name: [] for name in image_fields.values()}
    rest: list[bytes] = []
    at = count = besides = 0
    while at < len(message):
        tag, start = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        start, end = _value(message, start, kind)
        if kind == _BYTES and number in image_fields:
            count += 1
            _at_most("images", count, MAX_IMAGES)
            images[image_fields[number]].append(message[start:end])
        else:
            besides += end - at
            _check_besides(besides, max_bytes)
            rest.append(message[at:end])
            _at_most("fields besides its images", len(rest), MAX_FIELDS)
        at = end
    return images, b"".join(rest)


def _value(message: bytes, at: int, kind: int) -> tuple[int, int]:
    """Where the value of a field begins and ends."""
    if kind == _BYTES:
        size, at = _varint(message, at)
        end = at + size
    elif kind == _VARINT:
        end = _varint(message, at)[1]
    elif kind in (_FIXED32, _FIXED64):
        end = at + (4 if kind == _FIXED32 else 8)
    else:
        raise malformed()
    if end > len(message):
        raise malformed()
    return at, end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first, as long as the highest bit is set; and where it ends."""
    value = 0
    for place, byte in enumerate(message[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise malformed()


def malformed() -> ClipError:
    return MalformedRequest(
        "the bytes are not a message of this method. Send it as clip.proto has it, and not compressed."
    )


def _at_most(what: str, actual: int, limit: int) -> None:
    if actual > limit:
        raise TooMany(f"the message has more than {limit:,} {what}.", limit=limit, actual=actual)


def _check_besides(besides: int, limit: int) -> None:
    if besides > limit:
        raise BodyTooLarge(
            f"the message has {besides:,} bytes or more besides its images; the limit is {limit:,}.",
            limit=limit,
            actual=besides,
        )
