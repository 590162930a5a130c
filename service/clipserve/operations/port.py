"""Serves the operations port: the server of the REST API, in a thread whose event loop nothing else can block."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import uvloop

from clipserve.concurrency import kept_running
from clipserve.connections import ConnectionLimits
from clipserve.operations.page import Page
from clipserve.rest.protocol import Connections
from clipserve.rest.server import Server
from clipserve.telemetry.metrics import Metrics

_CONNECTIONS = 64  # another one replaces an idle one
_MAX_HEADER_BYTES = 8_192


@asynccontextmanager
async def serving(
    listener: socket.socket, page: Page, ready: Callable[[], Awaitable[bool]], seconds: float = 5.0
) -> AsyncIterator[int]:
    """Answer on `listener` about the event loop that runs this. Gives its port; the block's end closes it.

    `ready` is called on this loop and must not block. `seconds`: of each phase of a connection.
    """
    limits = ConnectionLimits(_CONNECTIONS, seconds, _MAX_HEADER_BYTES, seconds, seconds, seconds)
    connections = Connections(limits, Metrics(), shares_address=True)  # with metrics that nobody reads
    connections.draining = True  # one request for each connection
    server = Server(page, connections, 1)

    async def serve() -> None:
        watching = asyncio.create_task(page.pulse.watch())
        await server.serve([listener])
        watching.cancel()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    beating = kept_running("pulse", partial(page.pulse.beat, ready))
    thread = threading.Thread(target=run, name="operations", daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        beating.cancel()
        server.should_exit = server.force_exit = True
        thread.join(1.0)
