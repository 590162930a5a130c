"""One connection: uvicorn's protocol on httptools, with limits of bytes and time, and what all have in common.

uvicorn parses, runs the application and writes answers. What comes behind a request, before its answer is complete,
is dropped, and that answer is the last. So `self.cycle` is always the request at work.

The cycle writes to this object in place of the transport: to close a connection whose request has not arrived
completely would discard the answer at the client. So the rest of it is read and dropped for a moment first.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from clipserve.access.hosts import ROOT_PATH
from clipserve.connections import NO_PROXIES, ConnectionLimits, Proxies, address_of
from clipserve.errors import ClipError, HeadersTooLarge, MalformedRequest, TooManyConnections, check_limit
from clipserve.rest.errors import rendered
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

LEFT = "the client has left"  # or what it sends is no request: why a task is cancelled
_TOO_LONG = "before its body and between chunks of it the request has {:,} bytes or more"
_LINGER_SECONDS = 2.0
_LAST_IDLE_SECONDS = 1.0  # at the end, for a request that is on its way
Phase = IntEnum("Phase", "IDLE HEAD BODY WORKING ENDING")  # of a request; ENDING: there is no next one


@dataclass(eq=False)
class Connections(ServerState):
    """The open connections, as a part of uvicorn's state. At a limit, a new one closes another one.

    An address has at most half of all; if it has so many, that is an idle one of its own. If all together are too
    many, it is an idle or unfinished one of the address with most, if that has more than the new one's. `proxies`,
    and all with `shares_address`, stand for many clients: each may have all connections.
    """

    limits: ConnectionLimits
    metrics: Metrics
    proxies: Proxies = NO_PROXIES
    shares_address: bool = False
    root_path: str = ""  # that a proxy strips and tells no other
    draining: bool = False  # each answer is the last of its connection
    connections: set[Protocol] = field(init=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__init__()

    def admit(self, newcomer: Protocol) -> None:
        """Take a new connection, and close another one if necessary.

        Raises:
            TooManyConnections: no other one can be closed.
        """
        members, most, address = self.connections, self.limits.max_connections, newcomer.address
        members.discard(newcomer)  # uvicorn has added it
        most_own = most if newcomer.proxied or self.shares_address else (most + 1) // 2
        count = Counter(each.address for each in members) if len(members) >= most_own else Counter[str]()
        own = count[address]
        if own >= most_own or len(members) >= most:
            candidates = [
                each
                for each in members
                if (each.address == address and each.is_idle)
                or (own < most_own and count[each.address] > own and each.phase is not Phase.WORKING)
            ]
            if not candidates:
                limit = most if len(members) >= most else most_own
                said = f"there are {len(members):,} connections, {own:,} of them from your address"
                raise TooManyConnections(f"{said}, none of them idle.", limit=limit, actual=limit)
            chosen = min(candidates, key=lambda each: (-count[each.address], not each.is_idle, each.since))
            members.discard(chosen)
            chosen.transport.abort()
        members.add(newcomer)

    async def watch(self) -> None:
        """Check all connections four times a second: cheaper than timers, set and reset at each request."""
        while True:
            await asyncio.sleep(0.25)
            for member in list(self.connections):
                member.check(time.monotonic())


class Protocol(HttpToolsProtocol):
    """See the module. `since`: when its phase began, in seconds of `time.monotonic()`."""

    server_state: Connections

    @property
    def is_idle(self) -> bool:
        return self.phase is Phase.IDLE and not self.transport.get_write_buffer_size()

    def _enter(self, phase: Phase, seconds: float) -> None:
        """Begin a phase that may last so long."""
        self.phase, self.since = phase, time.monotonic()
        self._expires = self.since + seconds

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.write, self.is_closing = transport.write, transport.is_closing  # for the cycle
        host = self.client[0] if self.client else ""
        self.address, self.proxied = address_of(host), host in self.server_state.proxies
        self._limits = self.server_state.limits
        self._overhead = 0  # bytes of the request that are not its body, minus those that the body allows
        self._task: asyncio.Task[None] | None = None  # of the request at work
        self._untaken, self._taken_at = 0, math.inf  # bytes that wait for the client, and since when
        self._enter(Phase.IDLE, self._limits.first_byte_timeout_seconds)
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
        if self.phase is Phase.ENDING:
            return
        self._overhead += len(data)
        try:
            self.parser.feed_data(data)
            if self.phase is not Phase.IDLE:
                check_limit(HeadersTooLarge, _TOO_LONG, self._overhead, self._limits.max_header_bytes)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.phase is Phase.WORKING:  # there is something behind the request
                self.cycle.keep_alive = False
            elif isinstance(error, HttpParserUpgrade):
                self.data_received(self._without_upgrade() + data[error.args[0] :])
            else:
                reason = str(error).strip(" .'\"").lower() or "it cannot be parsed"
                self._refuse(MalformedRequest(f"the request is not HTTP/1.1: {reason}."))
        except HeadersTooLarge as error:
            self._refuse(error)

    def check(self, now: float) -> None:
        """Close it if a timeout is over: that of its phase does not count while the client takes an answer."""
        untaken = self.transport.get_write_buffer_size()
        if not untaken or untaken != self._untaken:
            self._untaken, self._taken_at = untaken, now
        if (now > self._expires and not untaken) or now > self._taken_at + self._limits.write_timeout_seconds:
            self.transport.abort()

    def shutdown(self) -> None:
        if self._task:
            self.cycle.keep_alive = False
        elif self.phase is Phase.IDLE:
            self._enter(Phase.IDLE, _LAST_IDLE_SECONDS)

    def close(self) -> None:
        """Called by the cycle: send nothing more, and close when the client does, after two seconds at most."""
        self._enter(Phase.ENDING, _LINGER_SECONDS)
        if not self.is_closing():
            self.flow.resume_reading()
            with suppress(OSError):  # the client has left
                self.transport.write_eof()

    def on_response_complete(self) -> None:
        """In place of uvicorn's: the sweep is cheaper than a timer for each."""
        self._task = None
        if self.phase is Phase.WORKING:
            self._enter(Phase.IDLE, self._limits.keep_alive_seconds)
            self._overhead = 0
        elif self.phase is Phase.BODY:  # the answer has come before the end of its request
            self.close()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        if self.phase is not Phase.IDLE:
            raise HttpParserError("the request is followed by another one")
        self._enter(Phase.HEAD, self._limits.header_timeout_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if not self.parser.should_upgrade() or self.parser.get_method() == b"CONNECT":
            self._enter(Phase.BODY, math.inf)  # the application limits its time
            if self.proxied:
                told = dict(self.headers).get(b"x-forwarded-prefix", b"").rstrip(b"/")
                valid = told and re.fullmatch(ROOT_PATH.encode(), told)
                self.scope["root_path"] = self.root_path = told.decode() if valid else self.config.root_path
            super().on_headers_complete()
            self.headers = []  # for trailers, which are no headers

    def on_body(self, body: bytes) -> None:
        self._overhead = max(0, self._overhead - len(body) * 9 // 8)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.phase is Phase.BODY:
            super().on_message_complete()
            self.phase = Phase.WORKING
            self.flow.resume_reading()  # only a read shows that the client has left

    def _without_upgrade(self) -> bytes:
        """The head that has arrived: RFC 9110 (7.8) lets us ignore an upgrade, but the parser has stopped there."""
        lines = [b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser, self.phase, self._overhead = HttpRequestParser(self), Phase.IDLE, 0
        return b"\r\n".join([*lines, b"\r\n"])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = self  # type: ignore[assignment]  # see the module
        # A client has all of an answer to HEAD before the application is at its end, and may ask again too early.
        cycle.keep_alive &= not (self.server_state.draining or self.scope["method"] == "HEAD")
        cycle.message_event.set()  # the first `receive` does not wait: it gives what has arrived
        self._task = self.loop.create_task(cycle.run_asgi(app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def _refuse(self, error: ClipError) -> None:
        """Answer here, in place of the application, and close. This is counted and logged as a request."""
        if self._task:  # its body is none
            self.cycle.disconnected = True
            self._task.cancel(LEFT)
        if not self._task or not self.cycle.response_started:
            request_id = uuid.uuid4().hex
            outcome, response = rendered(error, request_id)
            self.server_state.metrics.request("other", outcome, time.monotonic() - self.since)
            logger.info("request", endpoint="other", outcome=outcome, request_id=request_id)
            response.headers.update({"x-request-id": request_id, "connection": "close"})
            headers = [*self.server_state.default_headers, *response.raw_headers]
            lines = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body))
        self.close()
