"""Parses multipart/form-data (RFC 7578) in linear time.

The parser gets the body in one piece: it finds each boundary with one search, and returns the bytes of a part
in one piece too. The parser itself limits the headers of one part.
"""

from __future__ import annotations

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from clipserve.errors import InvalidInput, TooMany

MAX_PARTS = 4_096
_MAX_HEADERS = 1_000_000  # bytes of all parts' headers: a hostile megabyte takes 50 ms


def parse_form(body: bytes, boundary: str) -> list[tuple[str, str | bytes]]:
    """The name of each part, and its text, or its bytes if it has a file name; in order.

    Raises:
        InvalidInput: there is no boundary; the body is not a form, or ends before its last boundary; a name or a
            text is not UTF-8; the parts have too many headers.
        TooMany: the form has more than MAX_PARTS parts.
    """
    if not boundary:
        raise InvalidInput(
            "Content-Type has no boundary: do not set this header, a client makes it for a form."
        )
    parts: list[tuple[str, str | bytes]] = []
    headers = 0
    try:
        with PushMultipartParser(boundary.encode("latin-1"), strict=True) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    if len(parts) == MAX_PARTS:
                        raise TooMany(f"the form has more than {MAX_PARTS:,} parts.", limit=MAX_PARTS)
                    headers += sum(len(name) + len(value) for name, value in event.headerlist)
                    if headers > _MAX_HEADERS:
                        raise InvalidInput(
                            f"the headers of the form's parts have more than {_MAX_HEADERS:,} bytes.",
                            limit=_MAX_HEADERS,
                        )
                    segment, data = event, b""
                elif event is None:
                    parts.append(_part(segment, data))
                else:
                    data = event
    except MultipartError as error:
        error.__traceback__ = (
            None  # the parser holds its error, whose frames would hold the parser and the body
        )
        raise InvalidInput(f"the body is not multipart/form-data: {error.args[0]}.") from None
    return parts


def _part(segment: MultipartSegment, data: bytes) -> tuple[str, str | bytes]:
    if segment.filename is not None:
        return segment.name, data
    try:
        return segment.name, data.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"the value of the field `{segment.name[:64]}` is not valid UTF-8.") from None
