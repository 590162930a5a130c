"""Writes HTTP/1.1 answers as bytes, and answers connections without a request for the application."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from http import HTTPStatus

from starlette.responses import Response

from clipserve.errors import ClipError
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

Headers = Iterable[tuple[bytes, bytes]]
# (error, request id) -> (outcome for metrics and logs, answer).
Render = Callable[[Exception, str], tuple[str, Response]]
Refuse = Callable[[ClipError, float, Headers], bytes]  # the last arguments of `refusal`

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def refusal(
    render: Render, metrics: Metrics, error: ClipError, seconds: float, default_headers: Headers
) -> bytes:
    """The whole answer to a connection without a request for the application, whose last answer it is.

    It is counted and logged. `seconds`: the time since the connection's phase began.
    """
    request_id = uuid.uuid4().hex
    outcome, response = render(error, request_id)
    headers = [*default_headers, *response.raw_headers, (b"x-request-id", request_id.encode())]
    metrics.request("other", outcome, seconds)
    logger.info("request", endpoint="other", outcome=outcome, request_id=request_id)
    head = answer_head(response.status_code, headers, keep_alive=False, chunked=False)
    return head + bytes(response.body)


def answer_head(status: int, headers: Headers, *, keep_alive: bool, chunked: bool) -> bytes:
    """The status line and the headers, with the empty line. `headers`: without Connection."""
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
