"""uvicorn's server with our protocol."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from clipserve.concurrency import kept_running
from clipserve.rest.connections import Connections
from clipserve.rest.protocol import Protocol

# uvloop accepts one connection of a listener in a turn of the event loop. So it gets copies: an address that is
# refused and connects again, on hundreds of sockets, would keep all others waiting for hundreds of turns.
_COPIES = 16


class Server(uvicorn.Server):
    """Serves an application: `serve` runs until `end` is called. `started`: it listens."""

    def __init__(
        self,
        app: ASGIApp,
        connections: Connections,
        drain_seconds: float,
        *,
        copies: int = _COPIES,
        backlog: int = 2_048,
    ) -> None:
        """`drain_seconds`: of requests in flight at the end. `backlog`: connections that wait to be accepted."""
        config = uvicorn.Config(
            app,
            http=Protocol,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            backlog=backlog,
            proxy_headers=bool(connections.proxies.names),  # by default uvicorn would trust 127.0.0.1
            forwarded_allow_ips=[*connections.proxies.names],
            timeout_graceful_shutdown=drain_seconds,  # type: ignore[arg-type]  # of asyncio
        )
        super().__init__(config)
        self.server_state = self._connections = connections
        self.connect = partial(Protocol, config, connections, {})  # makes the protocol of a connection
        self._listeners: Sequence[socket.socket] = ()
        self._copies = copies

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Accept connections from these sockets, which it closes, and serve them. Signals are the caller's."""
        self._listeners = sockets or ()
        watching = kept_running("connections", self._connections.watch)
        try:
            await self._serve([each.dup() for each in self._listeners for _ in range(self._copies)])
        finally:
            watching.cancel()
            for connection in list(self._connections.connections):
                connection.transport.abort()

    def end(self, *, at_once: bool = False) -> None:
        """Accept no more connections; not thread-safe. `at_once`: do not wait for the requests in flight."""
        self.force_exit = self.force_exit or at_once
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connections.draining = True
        for server in self.servers:
            server.close()
        # Connections that wait have a request on their way, and to close the listener would reset them. All are
        # taken before any is answered: a client that connects again after each answer would go on for ever.
        waiting = list[socket.socket]()
        for listener in self._listeners:
            listener.setblocking(False)
            with suppress(OSError):  # no other one waits
                for _ in range(self.config.backlog):
                    waiting.append(listener.accept()[0])
            listener.close()
        for each in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self.connect, each)
        await super().shutdown(sockets)
