"""The HTTP server: uvicorn's listener and shutdown, around our own connections."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from clipserve.concurrency import kept_running
from clipserve.http1.accepting import Waiting
from clipserve.http1.answers import Render, refusal
from clipserve.http1.connection import Connection
from clipserve.http1.connections import Connections
from clipserve.telemetry.metrics import Metrics


def build_server(
    app: ASGIApp,
    drain_seconds: int,
    connections: Connections,
    render: Render,
    metrics: Metrics,
    kind: type[Connection] = Connection,
) -> uvicorn.Server:
    """Make a server; `serve(sockets)` runs it until `should_exit` is set.

    Then requests in flight have `drain_seconds` to end. `kind`: the class of connections.
    """
    refuse = partial(refusal, render, metrics)

    def connect(server_state: ServerState, **_: Any) -> Connection:
        server.waiting.accept_soon()
        return kind(app, connections, refuse, server_state)

    config = uvicorn.Config(
        app,
        http=connect,  # type: ignore[arg-type]  # called like the class that it expects
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=drain_seconds,
    )
    server = _Server(config, connections, connect)
    return server


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        connect: Callable[[ServerState], Connection],
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self.waiting = Waiting(lambda: connect(self.server_state))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.waiting.listen(sockets or ())

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        watching = kept_running("connections", self._connections.watch)
        try:
            await super().serve(sockets)
        finally:
            watching.cancel()
            self._connections.abort()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connections.draining = True
        self.waiting.close()
        await super().shutdown(sockets)

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave signals to the caller: uvicorn would end the process by the signal, not with status 0."""
        return nullcontext()
