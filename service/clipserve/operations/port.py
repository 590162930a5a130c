"""Serves the operations port: our HTTP server in a thread with its own event loop.

It answers while the service's event loop is blocked, and so can report that.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from clipserve.concurrency import kept_running
from clipserve.http1.connection import Connection
from clipserve.http1.connections import ConnectionLimits, Connections, Phase
from clipserve.http1.server import HttpServer
from clipserve.operations.page import Page
from clipserve.telemetry.metrics import Metrics

_CONNECTIONS = 64  # another one replaces one of these
_MAX_HEADER_BYTES = 8_192


@asynccontextmanager
async def serving(
    listener: socket.socket, page: Page, ready: Callable[[], Awaitable[bool]], seconds: float = 5.0
) -> AsyncIterator[int]:
    """Answer on `listener` about the event loop that runs this. Gives its port; the block's end closes it.

    `ready` is called on this loop and must not block. `seconds`: of a connection, which has one request.
    """
    limits = ConnectionLimits(
        max_connections=_CONNECTIONS,
        max_header_bytes=_MAX_HEADER_BYTES,
        first_byte_timeout_seconds=seconds,
        header_timeout_seconds=seconds,
        keep_alive_seconds=seconds,
        write_timeout_seconds=seconds,
    )
    connections = Connections(limits, for_own=Phase.READING)
    connections.draining = True  # one request for each connection
    # Separate metrics, which nobody reads: requests refused here are not requests to the service.
    server = HttpServer(page, 1, connections, page.render, Metrics(), partial(_Brief, seconds))
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        watching = asyncio.create_task(page.pulse.watch())
        await server.serve([listener])
        watching.cancel()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    beating = kept_running("pulse", partial(page.pulse.beat, ready))
    thread = threading.Thread(target=run, name="operations", daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        beating.cancel()
        with suppress(RuntimeError):  # it has ended already
            loop.call_soon_threadsafe(partial(server.end, at_once=True))
        thread.join(1.0)


class _Brief(Connection):
    """A connection of limited duration. A client that closes its sending side still gets its answer."""

    def __init__(self, seconds: float, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seconds = seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(error)

    def eof_received(self) -> bool:
        return self.phase is Phase.WORKING

    def _end(self) -> None:
        if self.phase is Phase.WORKING:  # this process stood still: what was asked meanwhile is answered now
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._transport.abort)
        else:
            self._transport.abort()
