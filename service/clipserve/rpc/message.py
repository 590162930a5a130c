"""Splits a protobuf message and checks its limits before it is parsed.

The parser would build an object for each field of as little as two bytes, and copy every image. So a walk over the
outermost fields comes first: it cuts images out of the bytes, and counts and limits the other fields. Messages of
this front are flat: no remaining field holds another message. Only the labels of a label set are messages with
images: each is cut out whole, walked in its turn, and counted with the others. The
weights of a label set are cut out as images are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from clipserve.errors import BodyTooLarge, ClipError, MalformedRequest, TooMany, check_limit

MAX_IMAGES = 4_096
MAX_FIELDS = 65_536  # besides images: a walk of 50 ms

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # the wire types except groups
_MAX_VARINT = 10  # bytes


Images = Mapping[str, Sequence[bytes]]  # field -> images


class Walk:
    """Splits a message and its inner messages. The limits are for all of them together.

    Its methods raise
        MalformedRequest: the bytes are not a message.
        BodyTooLarge: there are more than `max_bytes` besides images.
        TooMany: there are more than MAX_IMAGES images, or MAX_FIELDS other fields.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._images = self._fields = self._besides = 0

    def images(self, message: bytes, image_fields: Mapping[int, str]) -> tuple[Images, bytes]:
        """The images by the names of their fields, and a message of all other fields.

        `image_fields`: number -> name.
        """
        _, images, rest = self.messages(message, None, image_fields)
        return images, rest

    def messages(
        self, message: bytes, wanted: int | None, image_fields: Mapping[int, str]
    ) -> tuple[list[bytes], Images, bytes]:
        """The inner messages in field number `wanted`, to be split too; the images; a message of what is left."""
        messages: list[bytes] = []
        images: dict[str, list[bytes]] = {name: [] for name in image_fields.values()}
        rest: list[bytes] = []
        for number, kind, at, start, end in _fields(message):
            if kind == _BYTES and number in image_fields:
                self._count_image()
                images[image_fields[number]].append(message[start:end])
            elif kind == _BYTES and number == wanted:
                self._count(start - at)
                messages.append(message[start:end])
            else:
                self._count(end - at)
                rest.append(message[at:end])
        return messages, images, b"".join(rest)

    def _count_image(self) -> None:
        self._images += 1
        _at_most("images", self._images, MAX_IMAGES)

    def _count(self, size: int) -> None:
        self._besides += size
        self._fields += 1
        said = "the message has {:,} bytes or more besides its images"
        check_limit(BodyTooLarge, said, self._besides, self._max_bytes)
        _at_most("fields besides its images", self._fields, MAX_FIELDS)


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Of each field its number and its wire type, and where it, its value and the next field begin."""
    at = 0
    while at < len(message):
        tag, start = _varint(message, at)
        start, end = _value(message, start, tag & 7)
        yield tag >> 3, tag & 7, at, start, end
        at = end


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
    if at < len(message) and (byte := message[at]) < 0x80:  # nearly all have one byte
        return byte, at + 1
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
