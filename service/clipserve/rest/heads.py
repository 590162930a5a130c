"""What the head of a request may have. httptools allows more: any number of headers, duplicates, other versions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from httptools import HttpRequestParser

from clipserve.errors import HeadersTooLarge, MalformedRequest, check_limit

Headers = Sequence[tuple[bytes, bytes]]  # names in lower case, in order

_END = b"\r\n\r\n"
_ONCE = (b"authorization", b"host", b"transfer-encoding")  # a proxy may have read the other one
_MAX_HEADERS = 100  # as in Apache (LimitRequestFields)
_MAX_LENGTH_DIGITS = 19  # of a Content-Length; the parser reads any number of leading zeros
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def without_upgrade(head: bytes) -> bytes:
    """The head with another name for `Upgrade`, which RFC 9110 (7.8) allows to ignore.

    The parser would take the end of the head for the end of HTTP, and the body for something else.
    """
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) if b"\r\nupgrade:" in head.lower() else head


def end_of_head(data: bytes, limit: int) -> int:
    """The bytes of the head that `data` begins with; 0: it has not arrived completely.

    Raises:
        HeadersTooLarge: it has more than `limit`.
        MalformedRequest: it begins as no request does.
    """
    found = data.find(_END)
    end = found + len(_END) if found >= 0 else len(data)
    check_limit(HeadersTooLarge, "the request line and the headers have {:,} bytes or more", end, limit)
    if not data[:1].isalpha():  # TLS, say
        raise MalformedRequest("the request is not HTTP/1.1: it begins with no method.")
    return end if found >= 0 else 0


def check_number(headers: Headers) -> None:
    """Raise HeadersTooLarge if there are too many."""
    if len(headers) > _MAX_HEADERS:
        message = f"the request has more than {_MAX_HEADERS} headers."
        raise HeadersTooLarge(message, limit=_MAX_HEADERS, actual=len(headers))


def size_of_body(parser: HttpRequestParser, headers: Headers) -> float:
    """The bytes of the body of a request with these headers; infinity: it comes in chunks.

    Raises:
        MalformedRequest: it is for a proxy or another version, or two could read it differently.
    """
    version = parser.get_http_version()
    if parser.get_method() == b"CONNECT":
        raise MalformedRequest("CONNECT is for proxies.")
    if version not in ("1.0", "1.1"):
        raise MalformedRequest(f"HTTP/{version} is not supported: use HTTP/1.1.")
    fields = dict(headers)
    if len(fields) < len(headers):
        names = [name for name, _ in headers]
        for name in _ONCE:
            if (count := names.count(name)) > 1:
                raise MalformedRequest(f"the request has {count} {name.decode().title()} headers; send one.")
    if b"host" not in fields and version == "1.1":
        raise MalformedRequest("the request has no Host header; send one.")
    if (encoding := fields.get(b"transfer-encoding")) is not None:
        if encoding.strip().lower() != b"chunked":
            raise MalformedRequest("Transfer-Encoding must be chunked.")
        return math.inf
    length = fields.get(b"content-length", b"0")  # digits: the parser has checked
    if len(length) > _MAX_LENGTH_DIGITS:
        limit, actual = _MAX_LENGTH_DIGITS, len(length)
        raise MalformedRequest(f"Content-Length has {actual:,} digits; the limit is {limit}.")
    return int(length)
