"""One connection: uvicorn's protocol on httptools, with limits of bytes and time.

uvicorn parses, runs the application and writes answers. This class decides what uvicorn's parser gets: one whole
head of limited length, then the body of that request, and nothing of the next one until the answer is written. So
`self.cycle` is always the request at work, and a client that sends ahead costs the bytes of one head.

The cycle writes to this object in place of the transport: to close a connection whose request has not arrived
completely would discard the answer at the client. So the rest of it is read and dropped for a moment first.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from clipserve.connections import address_of
from clipserve.errors import (
    ClipError,
    HeadersTooLarge,
    HeadersTooSlow,
    MalformedRequest,
    TooManyConnections,
    check_limit,
)
from clipserve.rest.connections import Connections, Phase, has_left
from clipserve.rest.heads import check_number, end_of_head, size_of_body, without_upgrade

LEFT = "the client has left"  # or what it sends is no request: why a task is cancelled
_PIECE = 16_384  # bytes of a chunked body that are parsed at once
_ALLOWED = 9 / 8  # bytes between chunks and in them, for each of the body, besides those that a head may have
_LINGER_SECONDS = 2.0
_LAST_IDLE_SECONDS = 1.0  # at the end, for a request that is on its way


class Protocol(HttpToolsProtocol):
    """See the module. `since`: when its phase began, in seconds of `time.monotonic()`."""

    server_state: Connections
    cycle: RequestResponseCycle | None  # type: ignore[assignment]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.address, self.proxied = "", False
        self.since, self._expires = 0.0, math.inf
        self._limits = self.server_state.limits
        self._ahead = b""  # bytes of an incomplete head, or of the requests after this one
        self._missing = 0.0  # bytes of the body that have not arrived; infinity: it comes in chunks
        self._between = 0.0  # bytes between chunks, minus those that the body allows
        self._begun = self._complete = False  # its first byte has arrived, and its last
        self._persistent = False  # the client wants to send another request
        self._deaf = False  # received bytes are dropped
        self._task: asyncio.Task[None] | None = None
        # Bytes of answers that wait for the client, and since when.
        self._untaken, self._taken_at = 0, math.inf

    @property
    def phase(self) -> Phase:
        if self._answering:
            return Phase.WORKING if self._complete or self._answering.response_started else Phase.READING
        if self._deaf or self.transport.get_write_buffer_size():
            return Phase.FLUSHING
        return Phase.READING if self._begun else Phase.IDLE

    @property
    def _answering(self) -> RequestResponseCycle | None:
        return self.cycle if self.cycle and not self.cycle.response_complete else None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        self.address, self.proxied = address_of(host), host in self.server_state.proxies
        self._wait(self._limits.first_byte_timeout_seconds)
        try:
            self.server_state.admit(self)
        except TooManyConnections as error:
            self._refuse(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.discard(self)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # after a reset, uvicorn leaves it
        if self._task:
            self._task.cancel(LEFT)
        self.cycle = self._task = None  # else they and this object would hold each other

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            if self._missing:
                self._feed_body(memoryview(data))
            else:
                self._ahead = self._ahead + data if self._ahead else data
                self._go_on()
        except ClipError as error:
            self._refuse(error)

    # What the sweep of `Connections` and uvicorn's shutdown call.

    def check(self, now: float) -> None:
        """Close it if a timeout is over, or if the client has left while nothing is read."""
        untaken = self.transport.get_write_buffer_size()
        if not untaken or untaken != self._untaken:
            self._untaken, self._taken_at = untaken, now
        if now > self._expires and self.phase is Phase.READING and not self._deaf:
            seconds = self._limits.header_timeout_seconds
            message = f"the headers did not arrive within {seconds:g} s of their first byte."
            self._refuse(HeadersTooSlow(message, limit=seconds))
        elif now > min(self._expires, self._taken_at + self._limits.write_timeout_seconds) or (
            self.flow.read_paused and has_left(self.transport)
        ):
            self.transport.abort()

    def shutdown(self) -> None:
        if self._answering:
            self._answering.keep_alive = False
        elif self.phase is Phase.IDLE:
            self._wait(_LAST_IDLE_SECONDS)

    # What the cycle calls: the transport's methods, and its callback.

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def is_closing(self) -> bool:
        return self.transport.is_closing()

    def close(self) -> None:
        """Send nothing more, and close."""
        self._deaf = True
        if self._complete or not self._begun:
            self.transport.close()
        else:
            self._wait(_LINGER_SECONDS)
            self.flow.resume_reading()
            self.transport.write_eof()

    def on_response_complete(self) -> None:
        self._task = None
        super().on_response_complete()
        if self._deaf:
            self._unset_keepalive_if_required()
            return
        self._begun = False
        self._wait(math.inf)  # uvicorn has set its timer for an idle connection
        self.data_received(b"")  # what has arrived behind

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        if self._complete:  # bytes behind a chunked body, in the same piece
            raise MalformedRequest("the request is followed by another one.")
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._missing:  # a trailer
            return
        super().on_header(name, value)
        check_number(self.headers)

    def on_headers_complete(self) -> None:
        self._missing = size_of_body(self.parser, self.headers)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._between = max(0.0, self._between - len(body) * _ALLOWED)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._complete, self._missing = True, 0
        self._wait(math.inf)
        self.flow.resume_reading()  # only a read shows that the client has left
        if self._answering and not self._answering.response_started:
            self._answering.keep_alive = self._persistent and not self.server_state.draining

    # One request after the other.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = self  # type: ignore[assignment]  # see the module
        self._persistent, cycle.keep_alive = cycle.keep_alive, False  # until all of the request has arrived
        cycle.message_event.set()  # the first `receive` does not wait: it gives what has arrived
        self._task = self.loop.create_task(cycle.run_asgi(app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def _wait(self, seconds: float) -> None:
        """Begin a phase that may last so long."""
        self.since = time.monotonic()
        self._expires = self.since + seconds

    def _go_on(self) -> None:
        """Begin the next request if none is at work and its head has arrived."""
        limit = self._limits.max_header_bytes
        if self._answering:
            if len(self._ahead) > limit:  # this request is answered, and no other
                self._answering.keep_alive, self._deaf, self._ahead = False, True, b""
            return
        if self._ahead[:1] in (b"\r", b"\n"):  # RFC 9112 (2.2): empty lines before a request are ignored
            self._ahead = self._ahead.lstrip(b"\r\n")
        if not self._ahead:
            return
        if not self._begun:
            self._unset_keepalive_if_required()
            self._begun, self._complete, self._between = True, False, 0.0
            self._wait(self._limits.header_timeout_seconds)
        if end := end_of_head(self._ahead, limit):
            head, behind, self._ahead = self._ahead[:end], memoryview(self._ahead)[end:], b""
            self._parse(without_upgrade(head))
            self._expires = math.inf  # the application limits the time of the body
            self._feed_body(behind)

    def _feed_body(self, data: memoryview) -> None:
        """Parse bytes of a body, and store those behind it."""
        while data and self._missing:
            if math.isinf(self._missing):
                piece, data = data[:_PIECE], data[_PIECE:]
                self._between += len(piece)
            else:
                piece, data = data[: int(self._missing)], data[int(self._missing) :]
                self._missing -= len(piece)
            self._parse(piece)
            message = "what is between chunks of the body has {:,} bytes or more"
            check_limit(HeadersTooLarge, message, int(self._between), self._limits.max_header_bytes)
        if data:
            self._ahead = bytes(data)
            self._go_on()

    def _parse(self, data: bytes | memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self._complete and self._answering:
                self._answering.keep_alive, self._deaf = False, True
            elif isinstance(error.__context__, ClipError):
                raise error.__context__ from None
            else:
                reason = str(error).strip(" .'\"").lower() or "it cannot be parsed"
                raise MalformedRequest(f"the request is not HTTP/1.1: {reason}.") from None

    def _refuse(self, error: ClipError) -> None:
        """Answer here, in place of the application, and close."""
        if cycle := self._answering:  # its body is none
            cycle.disconnected = True
            if self._task:
                self._task.cancel(LEFT)
        if not (cycle and cycle.response_started):
            self.transport.write(self.server_state.refusal(error, time.monotonic() - self.since))
        self.close()
