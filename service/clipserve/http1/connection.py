"""One connection: reads bytes and handles requests one after the other, with limits of bytes and time.

How it works. The phases, and the events between them:

           first byte           last byte            answer written          answer taken
    IDLE ------------> READING ----------> WORKING ----------------> FLUSHING ------------> IDLE, or closed

From the end of its head to the end of WORKING the application (`Cycle`) handles a request. It may answer before it
has read the body, with 413, say. The rest of the body is then read and dropped for a moment: closing at once would
make the client's system discard an answer that the client has not read yet.

A request that is answered while it arrives is in WORKING as soon as its answer begins.

Reading continues after the end of a request, because only a read shows that the client has left. Bytes after it are
stored, up to the size of a head, for the next request; a client that sends more gets this answer and no other.
While the application does not take a body, reading stops: `Connections.watch` then checks whether the client has
left. It always checks the time of each phase.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

from starlette.types import ASGIApp

from clipserve.errors import ClipError, HeadersTooSlow, TooManyConnections
from clipserve.http1.answers import Refuse
from clipserve.http1.connections import Connections, Phase, Taking, address_of, has_left
from clipserve.http1.cycle import Cycle, scope_of
from clipserve.http1.requests import IncomingRequest

_READ_AHEAD = 262_144  # bytes of a body that wait for the application before reading stops
_LINGER_SECONDS = 2.0


class Connection(asyncio.Protocol):
    """See the module."""

    def __init__(self, app: ASGIApp, table: Connections, refuse: Refuse) -> None:
        self.address = ""
        self.phase = Phase.IDLE
        self.since = 0.0
        self.gone = self.full = False
        self._app = app
        self._table = table
        self._limits = table.limits
        self._refuse = refuse
        self._transport: asyncio.Transport
        self._ends: tuple[Any, Any] = (None, None)  # our address and the client's
        self._expires = math.inf
        self._incoming = IncomingRequest(self._limits.max_header_bytes)
        self._behind = bytearray()
        self._cycle: Cycle | None = None
        self._deaf = False  # received bytes are dropped
        self._left = False  # nothing more is written
        self._emptied = asyncio.Event()  # for those who wait while it is full
        self._taking = Taking(self._limits.write_timeout_seconds)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        client = transport.get_extra_info("peername") or ("", 0)
        self._ends = transport.get_extra_info("sockname")[:2], tuple(client[:2])
        self.address = address_of(client[0])
        self._enter(Phase.IDLE, self._limits.first_byte_timeout_seconds)
        try:
            self._table.admit(self)
        except TooManyConnections as error:
            self._answer(error)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._incoming.complete:
            self._keep(data)
        else:
            self._feed(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.gone = True
        self._table.discard(self)
        self._incoming.close()
        self._emptied.set()
        if self._cycle:
            self._cycle.wake()
        self._cycle = None

    def pause_writing(self) -> None:
        self.full = True
        self._emptied.clear()

    def resume_writing(self) -> None:
        self.full = False
        self._emptied.set()
        if self.phase is Phase.FLUSHING and not self._left:
            self._next()

    # What `Connections` and uvicorn's shutdown call: see `Member`.

    def shutdown(self) -> None:
        if self.phase is Phase.IDLE:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def check(self, now: float) -> None:
        if now > self._expires:
            self._expire()
        elif self._taking.stands_still(self._transport.get_write_buffer_size(), now) or (
            self._paused and has_left(self._transport)
        ):
            self.abort()

    # What `Cycle` calls: see `Wire`.

    def write(self, *parts: bytes) -> None:
        for part in parts:
            self._taking.written += len(part)
            self._transport.write(part)

    async def writable(self) -> None:
        await self._emptied.wait()

    def go_on_reading(self) -> None:
        if self._paused:
            self._transport.resume_reading()

    def at_work(self) -> None:
        if self.phase is not Phase.WORKING:
            self._enter(Phase.WORKING)

    def answered(self) -> None:
        self._cycle = None
        self._deaf = not self._incoming.complete  # else the rest of the body would start reading again
        if self.full:
            self._enter(Phase.FLUSHING)
        else:
            self._next()

    def ended(self, cycle: Cycle) -> None:
        self._table.tasks.discard(cycle)
        if not cycle.answered:
            self.abort()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return self._table.default_headers

    @property
    def keeps_alive(self) -> bool:
        return self._incoming.keep_alive and self._incoming.complete and not self._table.draining

    # One request after the other.

    @property
    def _paused(self) -> bool:
        return not (self._transport.is_reading() or self._transport.is_closing())

    def _enter(self, phase: Phase, seconds: float = math.inf) -> None:
        self.phase = phase
        self.since = time.monotonic()
        self._expires = self.since + seconds

    def _feed(self, data: bytes) -> None:
        incoming = self._incoming
        try:
            behind = incoming.feed(data)
            if incoming.head_complete and self._cycle is None:
                self._cycle = Cycle(self, incoming, scope_of(incoming, *self._ends))
                self._table.tasks.add(self._cycle)
                self._cycle.start(self._app)
        except ClipError as error:
            self._fail(error)
            return
        if incoming.complete:
            self._enter(Phase.WORKING)
        elif self.phase is Phase.IDLE:
            self._enter(Phase.READING, self._limits.header_timeout_seconds)
        if self._cycle:
            self._expires = math.inf  # the application limits the time of the body
        if incoming.buffered > _READ_AHEAD and not incoming.complete:
            self._transport.pause_reading()
        if self._cycle:
            self._cycle.wake()
        if behind:
            self._keep(behind)

    def _keep(self, data: bytes) -> None:
        """Store bytes of the next request."""
        if self._incoming.keep_alive:
            self._behind += data
            if len(self._behind) > self._limits.max_header_bytes:
                self._incoming.keep_alive = False

    def _next(self) -> None:
        """The answer is taken, or nearly so: begin the next request, or close."""
        if not self.keeps_alive:
            self._leave()
            return
        self._incoming = IncomingRequest(self._limits.max_header_bytes)
        self._enter(Phase.IDLE, self._limits.keep_alive_seconds)
        if self._behind:
            behind, self._behind = bytes(self._behind), bytearray()
            self._feed(behind)

    def _leave(self) -> None:
        self._deaf = self._left = True
        if self._incoming.complete or not self._incoming.begun:
            self._enter(Phase.FLUSHING)
            self._transport.close()
        else:
            self._enter(Phase.FLUSHING, _LINGER_SECONDS)
            self.go_on_reading()
            self._transport.write_eof()

    # Errors before there is a request.

    def _expire(self) -> None:
        if self.phase is Phase.READING:
            seconds = self._limits.header_timeout_seconds
            message = f"the headers did not arrive within {seconds:g} s of their first byte."
            self._answer(HeadersTooSlow(message, limit=seconds))
        else:
            self._transport.abort()

    def _fail(self, error: ClipError) -> None:
        if self.phase is Phase.IDLE:
            self._enter(Phase.READING)
        self._incoming.close()
        self._incoming.keep_alive = False
        if self._cycle:
            self._deaf = True
            self._cycle.fail(error)
        else:
            self._answer(error)

    def _answer(self, error: ClipError) -> None:
        self.write(self._refuse(error, time.monotonic() - self.since, self.default_headers))
        self._incoming.keep_alive = False
        self._leave()
