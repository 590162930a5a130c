"""One connection: uvicorn's protocol on httptools, with limits of bytes and time.

uvicorn parses, runs the application and writes answers. Its parser gets one whole head of limited length, then the
body of that request. What comes behind waits for the answer if it is short; else it is dropped, and the answer is
the last. So `self.cycle` is always the request at work, and a client that sends ahead costs the bytes of one head.

The cycle writes to this object in place of the transport: to close a connection whose request has not arrived
completely would discard the answer at the client. So the rest of it is read and dropped for a moment first.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
import uuid
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from clipserve.connections import address_of
from clipserve.errors import (
    ClipError,
    HeadersTooLarge,
    HeadersTooSlow,
    MalformedRequest,
    TooManyConnections,
    check_limit,
)
from clipserve.rest.connections import Connections, Phase
from clipserve.rest.errors import rendered
from clipserve.telemetry.log import logger

LEFT = "the client has left"  # or what it sends is no request: why a task is cancelled
_END = b"\r\n\r\n"  # of a head
_ONCE = (b"authorization", b"host", b"transfer-encoding")  # a proxy may have read the other one
_TOO_LONG = "the request line and the headers have {:,} bytes or more"
_TOO_LONG_BETWEEN = "what is between chunks of the body has {:,} bytes or more"
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_ALLOWED = 9 / 8  # bytes between chunks and in them, for each of the body, besides those that a head may have
_LINGER_SECONDS = 2.0
_LAST_IDLE_SECONDS = 1.0  # at the end, for a request that is on its way
_IDLE, _HEAD, _BODY, _WORKING, _ENDING = Phase  # Python 3.11 looks a member up by functions of its own


class Protocol(HttpToolsProtocol):
    """See the module. `since`: when its phase began, in seconds of `time.monotonic()`."""

    server_state: Connections

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.address, self.proxied = "", False
        self.phase, self.since, self._expires = _IDLE, 0.0, math.inf
        self._limits = self.server_state.limits
        self._head = b""  # an incomplete one, or what has come behind the request at work
        self._between = 0.0  # bytes between chunks, minus those that the body allows
        self._task: asyncio.Task[None] | None = None  # of the request at work
        self._untaken, self._taken_at = 0, math.inf  # bytes that wait for the client, and since when

    @property
    def is_idle(self) -> bool:
        return self.phase is _IDLE and not self.transport.get_write_buffer_size()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.write, self.is_closing = transport.write, transport.is_closing  # for the cycle
        host = self.client[0] if self.client else ""
        self.address, self.proxied = address_of(host), host in self.server_state.proxies
        self._enter(_IDLE, self._limits.first_byte_timeout_seconds)
        try:
            self.server_state.admit(self)
        except TooManyConnections as error:
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.discard(self)
        super().connection_lost(exc)
        if self._task:
            self._task.cancel(LEFT)
        self.cycle = self._task = None  # type: ignore[assignment]  # else they and this would hold each other

    def data_received(self, data: bytes) -> None:
        try:
            if self.phase <= _HEAD:
                self._take_head(self._head + data)
            elif self.phase is _BODY:
                self._take_body(data)
            elif self.phase is _WORKING:  # a client has all of the answer to HEAD before this has
                self._head += data
                if len(self._head) > self._limits.max_header_bytes:
                    self._end_with_this()
        except ClipError as error:
            self._refuse(error)

    # What the sweep of `Connections` and uvicorn's shutdown call.

    def check(self, now: float) -> None:
        """Close it if a timeout is over."""
        untaken = self.transport.get_write_buffer_size()
        if not untaken or untaken != self._untaken:
            self._untaken, self._taken_at = untaken, now
        if now > self._expires and self.phase is _HEAD:
            seconds = self._limits.header_timeout_seconds
            message = f"the headers did not arrive within {seconds:g} s of their first byte."
            self._refuse(HeadersTooSlow(message, limit=seconds))
        elif now > min(self._expires, self._taken_at + self._limits.write_timeout_seconds):
            self.transport.abort()

    def shutdown(self) -> None:
        if self._task:
            self.cycle.keep_alive = False
        elif self.phase is _IDLE:
            self._enter(_IDLE, _LAST_IDLE_SECONDS)

    # What the cycle calls: it has this in place of the transport.

    def close(self) -> None:
        """Send nothing more, and close."""
        lingers = self.phase not in (_IDLE, _WORKING)
        self._enter(_ENDING, _LINGER_SECONDS)
        if lingers:
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """In place of uvicorn's: the sweep is cheaper than a timer for each."""
        self._task = None
        if self.phase is _WORKING:
            self._enter(_IDLE, self._limits.keep_alive_seconds)
            if self._head:
                self.data_received(b"")
        elif self.phase is _BODY:  # the answer has come before the end of its request
            self.close()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        if self.phase is not _BODY:
            raise MalformedRequest("the request is followed by another one.")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        fields = dict(self.headers)
        if len(fields) < len(self.headers):
            names = [name for name, _ in self.headers]
            for name in _ONCE:
                if (count := names.count(name)) > 1:
                    raise MalformedRequest(f"there are {count} {name.decode().title()} headers; send one.")
        if b"host" not in fields and self.parser.get_http_version() != "1.0":
            raise MalformedRequest("the request has no Host header; send one.")
        if fields.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            raise MalformedRequest("Transfer-Encoding must be chunked.")
        super().on_headers_complete()
        self.headers = []  # for trailers, which are no headers

    def on_body(self, body: bytes) -> None:
        self._between = max(0.0, self._between - len(body) * _ALLOWED)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.phase = _WORKING
        self.flow.resume_reading()  # only a read shows that the client has left

    # One request.

    def _enter(self, phase: Phase, seconds: float = math.inf) -> None:
        """Begin a phase that may last so long."""
        self.phase, self.since = phase, time.monotonic()
        self._expires = self.since + seconds

    def _take_head(self, data: bytes) -> None:
        """Begin the request, if its head has arrived."""
        if self.phase is _IDLE:
            data = data.lstrip(b"\r\n")  # RFC 9112 (2.2): empty lines before a request are ignored
            if not data:
                return
            self._enter(_HEAD, self._limits.header_timeout_seconds)
        end = data.find(_END) + len(_END)
        is_whole = end >= len(_END)
        check_limit(HeadersTooLarge, _TOO_LONG, end if is_whole else len(data), self._limits.max_header_bytes)
        if not data[:1].isalpha():  # TLS, say
            raise MalformedRequest("the request is not HTTP/1.1: it begins with no method.")
        if not is_whole:
            self._head = data
            return
        # RFC 9110 (7.8): an upgrade may be ignored. The parser would stop there.
        if b"\r\nupgrade:" in data[:end].lower():
            data = _UPGRADE.sub(b"\r\nx-upgrade:", data[:end]) + data[end:]
        self._head, self._between = b"", -float(end)
        self.phase, self._expires = _BODY, math.inf  # the application limits its time
        self._take_body(data)

    def _take_body(self, data: bytes) -> None:
        self._between += len(data)
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.phase is _WORKING:
                self._end_with_this()
            elif isinstance(error.__context__, ClipError):
                raise error.__context__ from None
            else:
                reason = str(error).strip(" .'\"").lower() or "it cannot be parsed"
                raise MalformedRequest(f"the request is not HTTP/1.1: {reason}.") from None
        if self.phase is _BODY:
            between = int(self._between)
            check_limit(HeadersTooLarge, _TOO_LONG_BETWEEN, between, self._limits.max_header_bytes)

    def _end_with_this(self) -> None:
        """Drop what comes behind the request; its answer is the last."""
        self._enter(_ENDING)
        self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = self  # type: ignore[assignment]  # see the module
        cycle.keep_alive = cycle.keep_alive and not self.server_state.draining
        cycle.message_event.set()  # the first `receive` does not wait: it gives what has arrived
        self._task = self.loop.create_task(cycle.run_asgi(app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def _refuse(self, error: ClipError) -> None:
        """Answer here, in place of the application, and close. This is counted and logged as a request."""
        started = False
        if self._task:  # its body is none
            self.cycle.disconnected, started = True, self.cycle.response_started
            self._task.cancel(LEFT)
        if not started:
            request_id = uuid.uuid4().hex
            outcome, response = rendered(error, request_id)
            self.server_state.metrics.request("other", outcome, time.monotonic() - self.since)
            logger.info("request", endpoint="other", outcome=outcome, request_id=request_id)
            own = ((b"x-request-id", request_id.encode()), (b"connection", b"close"))
            headers = [*self.server_state.default_headers, *response.raw_headers, *own]
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body))
        self.close()
