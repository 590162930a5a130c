"""HTTP/1.1 on the wire: one answer into bytes."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def answer_head(
    status: int, headers: Iterable[tuple[bytes, bytes]], *, keep_alive: bool, chunked: bool
) -> bytes:
    """The status line and the headers, to the empty line. `headers`: without a Connection."""
    lines = [_STATUS_LINES[status]]
    for name, value in headers:
        lines += name, b": ", value, b"\r\n"
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def chunk(data: bytes, *, last: bool) -> bytes:
    """`data` as one chunk of a chunked answer."""
    head = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return head + _LAST_CHUNK if last else head
