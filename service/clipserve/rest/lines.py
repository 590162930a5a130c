"""Parses JSON lines, each with an image or a text. No sockets, no asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from clipserve.api.fields import ImageSource
from clipserve.errors import BodyTooLarge, ClipError, InvalidInput, check_limit
from clipserve.rest.json_body import image_of

_EXAMPLE = '{"id": 7, "text": "a cat"} or {"id": "a.jpg", "image": "<base64>"}'
_MAX_ID = 256  # characters
# A longer line has an image, and base64 has no commas: so few values cannot take much memory.
_LONG, _FEW_COMMAS = 65_536, 8


@dataclass(frozen=True)
class Line:
    """One parsed line. `id`: the caller's, if any. `item`: the image or text, or the error of the line."""

    index: int
    id: str | int | None
    item: ImageSource | str | ClipError
    size: int


class Splitter:
    """Splits a stream of bytes into lines."""

    def __init__(self, max_line_bytes: int) -> None:
        self._limit = max_line_bytes
        self._begun: list[bytes] = []  # of a line without its end
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that end in `data`, without their line ends.

        Raises:
            BodyTooLarge: a line is longer than the limit.
        """
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._keep(data[start:end])
            yield self._taken()
            start = end + 1
        self._keep(data[start:])

    def rest(self) -> bytes:
        """The last line, if it has no line end."""
        return self._taken()

    def _keep(self, piece: bytes) -> None:
        self._begun.append(piece)
        self._size += len(piece)
        check_limit(BodyTooLarge, "a line has {:,} bytes or more", self._size, self._limit)

    def _taken(self) -> bytes:
        line = b"".join(self._begun)
        self._begun.clear()
        self._size = 0
        return line


def parse_line(index: int, data: bytes) -> Line:
    """Parse a line. Its error, if any, becomes its item."""
    caller_id: str | int | None = None
    item: ImageSource | str
    try:
        fields = _object(data)
        caller_id = _checked_id(fields.pop("id", None))
        item = _item(index, fields)
    except ClipError as error:
        item = error.at(index)
    return Line(index, caller_id, item, len(data))


def _object(data: bytes) -> dict[str, object]:
    if len(data) > _LONG and data.count(b",") > _FEW_COMMAS:
        raise InvalidInput(f"the line has more than an image or a text. Send {_EXAMPLE}.")
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the line is not JSON: {error.msg} at character {error.pos}.") from None
    if not isinstance(fields, dict):
        raise InvalidInput(f"the line is not a JSON object. Send {_EXAMPLE}.")
    return fields


def _checked_id(value: object) -> str | int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isinstance(value, str) or len(value) > _MAX_ID:
        raise InvalidInput(
            f"id: must be a number or a string of at most {_MAX_ID} characters.", limit=_MAX_ID
        )
    return value


def _item(index: int, fields: dict[str, object]) -> ImageSource | str:
    if len(fields) != 1 or not fields.keys() <= {"text", "image"}:
        raise InvalidInput(
            f"the line must have either a text or an image, and nothing else. Send {_EXAMPLE}."
        )
    ((name, value),) = fields.items()
    if not isinstance(value, str):
        raise InvalidInput(f"{name}: must be a string.")
    return value if name == "text" else image_of(index, value)
