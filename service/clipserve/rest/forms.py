"""multipart/form-data (RFC 7578), taken apart in a time that grows with its bytes, whatever they are.

The body is in memory as a whole, so that the next boundary is one search. Parsers made for streams step byte by
byte through what stands behind a boundary: 20 MB of spaces there, or of what is nearly a boundary, took seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from clipserve.errors import InvalidInput, TooMany

MAX_PARTS = 4_096
# What clients write is far below these. The boundary's own standard (RFC 2046) has 70.
_MAX_BOUNDARY = 256
_MAX_PADDING = 256  # bytes of white space between a boundary and the end of its line
_MAX_HEADERS = 8_192  # bytes of one part's headers
_MAX_PARAMETERS = 32  # semicolons in its Content-Disposition


@dataclass(frozen=True)
class Part:
    """`data`: text, or the bytes of a file where the part has a file name."""

    name: str
    data: str | bytes


def parse_form(body: bytes, boundary: bytes) -> list[Part]:
    """The parts, in order.

    Raises:
        InvalidInput: the body is no form, or ends before its last boundary; a name or a text in it is not UTF-8.
        TooMany: it has more than MAX_PARTS parts.
    """
    if not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise _no_form(
            f"the boundary in the Content-Type has {len(boundary):,} bytes, not 1 to {_MAX_BOUNDARY}."
        )
    parts: list[Part] = []
    start = 0
    for line, behind in _boundaries(body, b"\r\n--" + boundary):
        if start:
            parts.append(_part(body, start, line))
        start = behind
    return parts


def _boundaries(body: bytes, line: bytes) -> Iterator[tuple[int, int]]:
    """Of each boundary: where its line begins, the line break before it included, and where the next part does."""
    dashes = body.find(line[2:])
    if dashes > 0 and body[dashes - 1] not in b"\r\n":  # in the text that may stand before the first boundary
        dashes = _dashes(body, line, dashes)
    found = nearly = 0
    while dashes >= 0 and found <= MAX_PARTS and nearly <= MAX_PARTS:
        behind = dashes + len(line) - 2
        if body.startswith(b"--", behind):
            yield dashes - 2, behind
            return
        end = body.find(b"\r\n", behind, behind + _MAX_PADDING)
        if end >= 0 and not body[behind:end].strip(b" \t"):
            found += 1
            yield dashes - 2, end + 2
        else:
            nearly += 1  # is data
        dashes = _dashes(body, line, behind)
    if dashes < 0:
        raise _no_form("there is no boundary at its end.")
    raise TooMany(f"the form has more than {MAX_PARTS:,} parts.", limit=MAX_PARTS)


def _dashes(body: bytes, line: bytes, start: int) -> int:
    """Where the next boundary begins, at its dashes; -1 if there is none."""
    at = body.find(line, start)
    return at if at < 0 else at + 2


def _part(body: bytes, start: int, end: int) -> Part:
    data = body.find(b"\r\n\r\n", start, min(end, start + _MAX_HEADERS))
    if data < 0:
        raise _no_form(
            f"a part has no empty line after its headers, or more than {_MAX_HEADERS:,} bytes of them."
        )
    options = _disposition(body[start:data])
    if b"name" not in options:
        raise _no_form('a part has no name, as in Content-Disposition: form-data; name="image".')
    name = _utf8(options[b"name"], "the name of a field")
    value = body[data + 4 : end]
    if b"filename" in options:
        return Part(name, value)
    return Part(name, _utf8(value, f"the value of the field `{name[:64]}`"))


def _disposition(headers: bytes) -> dict[bytes, bytes]:
    value = b""
    for line in headers.split(b"\r\n"):
        name, _, after = line.partition(b":")
        if name.lower() == b"content-disposition":
            value = after
    if value.count(b";") > _MAX_PARAMETERS:
        raise _no_form(f"a Content-Disposition has more than {_MAX_PARAMETERS} parameters.")
    return parse_options_header(value.strip(b" \t"))[1]


def _utf8(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{what} is not valid UTF-8.") from None


def _no_form(why: str) -> InvalidInput:
    return InvalidInput(f"the body is not multipart/form-data: {why}")
