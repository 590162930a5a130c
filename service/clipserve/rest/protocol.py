"""One connection: uvicorn's protocol on httptools, with limits of bytes and time.

uvicorn parses, runs the application and writes answers. What comes behind a request, before its answer is complete,
is dropped, and that answer is the last. So `self.cycle` is always the request at work.

The cycle writes to this object in place of the transport: to close a connection whose request has not arrived
completely would discard the answer at the client. So the rest of it is read and dropped for a moment first.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from clipserve.connections import address_of
from clipserve.errors import ClipError, HeadersTooLarge, MalformedRequest, TooManyConnections, check_limit
from clipserve.rest.errors import rendered
from clipserve.telemetry.log import logger

if TYPE_CHECKING:
    from clipserve.rest.server import Connections

LEFT = "the client has left"  # or what it sends is no request: why a task is cancelled
_ONCE = (b"authorization", b"host", b"transfer-encoding")  # a proxy may have read the other one
_TOO_LONG = "before its body and between chunks of it the request has {:,} bytes or more"
_LINGER_SECONDS = 2.0
_LAST_IDLE_SECONDS = 1.0  # at the end, for a request that is on its way
Phase = IntEnum("Phase", "IDLE HEAD BODY WORKING ENDING")  # of a request; ENDING: there is no next one
_IDLE, _HEAD, _BODY, _WORKING, _ENDING = Phase  # Python 3.11 looks a member up by functions of its own


class Protocol(HttpToolsProtocol):
    """See the module. `since`: when its phase began, in seconds of `time.monotonic()`."""

    server_state: Connections

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.address, self.proxied = "", False
        self.phase, self.since, self._expires = _IDLE, 0.0, math.inf
        self._limits = self.server_state.limits
        self._overhead = 0  # bytes of the request that are not its body, minus those that the body allows
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
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._task:
            self._task.cancel(LEFT)
        self.cycle = self._task = None  # type: ignore[assignment]  # else they and this would hold each other

    def data_received(self, data: bytes) -> None:
        if self.phase is _WORKING:
            self.cycle.keep_alive = False
        elif self.phase is not _ENDING:
            try:
                self._parse(data)
            except ClipError as error:
                self._refuse(error)

    # What the sweep of `Connections` and uvicorn's shutdown call.

    def check(self, now: float) -> None:
        """Close it if a timeout is over: that of its phase does not count while the client takes an answer."""
        untaken = self.transport.get_write_buffer_size()
        if not untaken or untaken != self._untaken:
            self._untaken, self._taken_at = untaken, now
        over = now > self._expires and not untaken
        if over or now > self._taken_at + self._limits.write_timeout_seconds:
            self.transport.abort()

    def shutdown(self) -> None:
        if self._task:
            self.cycle.keep_alive = False
        elif self.phase is _IDLE:
            self._enter(_IDLE, _LAST_IDLE_SECONDS)

    # What the cycle calls: it has this in place of the transport.

    def close(self) -> None:
        """Send nothing more, and close when the client does, after two seconds at most."""
        self._enter(_ENDING, _LINGER_SECONDS)
        if not self.is_closing():
            self.flow.resume_reading()
            with suppress(OSError):  # the client has left
                self.transport.write_eof()

    def on_response_complete(self) -> None:
        """In place of uvicorn's: the sweep is cheaper than a timer for each."""
        self._task = None
        if self.phase is _WORKING:
            self._enter(_IDLE, self._limits.keep_alive_seconds)
            self._overhead = 0
        elif self.phase is _BODY:  # the answer has come before the end of its request
            self.close()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        if self.phase is not _IDLE:
            raise MalformedRequest("the request is followed by another one.")
        self._enter(_HEAD, self._limits.header_timeout_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        fields, names = dict(self.headers), [name for name, _ in self.headers]
        if twice := [name.decode().title() for name in _ONCE if names.count(name) > 1]:
            raise MalformedRequest(f"there are several {twice[0]} headers; send one.")
        if b"host" not in fields and self.parser.get_http_version() != "1.0":
            raise MalformedRequest("the request has no Host header; send one.")
        if fields.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
            raise MalformedRequest("Transfer-Encoding must be chunked.")
        if b"upgrade" not in fields or not self.parser.should_upgrade():
            self.phase, self._expires = _BODY, math.inf  # the application limits its time
            super().on_headers_complete()
            self.headers = []  # for trailers, which are no headers

    def on_body(self, body: bytes) -> None:
        self._overhead = max(0, self._overhead - len(body) * 9 // 8)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.phase is _BODY:
            super().on_message_complete()
            self.phase = _WORKING
            self.flow.resume_reading()  # only a read shows that the client has left

    # One request.

    def _enter(self, phase: Phase, seconds: float) -> None:
        """Begin a phase that may last so long."""
        self.phase, self.since = phase, time.monotonic()
        self._expires = self.since + seconds

    def _parse(self, data: bytes) -> None:
        self._overhead += len(data)
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.phase is _WORKING:
                self.cycle.keep_alive = False
            elif isinstance(error, HttpParserUpgrade):
                self._parse(self._without_upgrade() + data[error.args[0] :])
            elif isinstance(error.__context__, ClipError):
                raise error.__context__ from None
            else:
                reason = str(error).strip(" .'\"").lower() or "it cannot be parsed"
                raise MalformedRequest(f"the request is not HTTP/1.1: {reason}.") from None
        else:
            if self.phase is not _IDLE:
                check_limit(HeadersTooLarge, _TOO_LONG, self._overhead, self._limits.max_header_bytes)

    def _without_upgrade(self) -> bytes:
        """The head that has arrived: RFC 9110 (7.8) lets us ignore an upgrade, but the parser has stopped there."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser, self.phase, self._overhead = HttpRequestParser(self), _IDLE, 0
        return b"\r\n".join([*lines, b"\r\n"])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = self  # type: ignore[assignment]  # see the module
        # A client has all of an answer to HEAD before the application is at its end, and may ask again too early.
        stays = cycle.keep_alive and self.scope["method"] != "HEAD"
        cycle.keep_alive = stays and not self.server_state.draining
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
