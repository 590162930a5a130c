"""The operations port: our HTTP server once more, in a thread with a small event loop of its own.

It answers when the service's event loop cannot, and so can say that this one is blocked.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from clipserve.concurrency import kept_running
from clipserve.http1.connection import Connection
from clipserve.http1.connections import ConnectionLimits, Connections, Phase
from clipserve.http1.server import build_server
from clipserve.operations.page import Page
from clipserve.telemetry.metrics import Metrics

_CONNECTIONS = 64  # one more takes the place of another
_CONNECTION_SECONDS = 5.0  # from its beginning to its end: a connection is for one request
_MAX_HEADER_BYTES = 8_192


@asynccontextmanager
async def serving(
    listener: socket.socket, page: Page, ready: Callable[[], Awaitable[bool]]
) -> AsyncIterator[None]:
    """Answer on `listener`, which is closed in the end, about the event loop that runs this.

    `ready` is asked on this loop, and must answer at once.
    """
    seconds = _CONNECTION_SECONDS
    limits = ConnectionLimits(
        max_connections=_CONNECTIONS,
        max_header_bytes=_MAX_HEADER_BYTES,
        first_byte_timeout_seconds=seconds,
        header_timeout_seconds=seconds,
        keep_alive_seconds=seconds,
        write_timeout_seconds=seconds,
    )
    connections = Connections(limits, for_own=Phase.READING)
    connections.draining = True  # each answer is the last of its connection
    # Metrics of its own, which nobody reads: what is refused here is no request to the service.
    server = build_server(page, 1, connections, page.render, Metrics(), _Brief)
    server.config.backlog = _CONNECTIONS  # asyncio accepts so many in one go, each of which is an open file

    async def serve() -> None:
        watching = asyncio.create_task(page.pulse.watch())
        await server.serve([listener])
        watching.cancel()

    beating = kept_running("pulse", partial(page.pulse.beat, ready))
    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="operations", daemon=True)
    thread.start()
    try:
        yield
    finally:
        beating.cancel()
        server.should_exit = server.force_exit = True
        thread.join(1.0)


class _Brief(Connection):
    """It ends in time. A client that has said all, and stops sending, still gets its answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._timer = asyncio.get_running_loop().call_later(_CONNECTION_SECONDS, transport.abort)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(error)

    def eof_received(self) -> bool:
        return self.phase is Phase.WORKING
