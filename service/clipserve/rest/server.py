"""uvicorn's server with our protocol, which accepts connections in turns and at the end loses none."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from clipserve.concurrency import kept_running
from clipserve.rest.protocol import Connections, Protocol

# uvloop accepts one connection of a listener in a turn of the event loop. So it gets copies: an address that is
# refused and connects again, on hundreds of sockets, would keep all others waiting for hundreds of turns.
_COPIES = 16


class Server(uvicorn.Server):
    """Serves an application until `should_exit`, at once if `force_exit` too. `started`: it listens."""

    server_state: Connections

    def __init__(self, app: ASGIApp, connections: Connections, drain_seconds: float) -> None:
        """`drain_seconds`: of requests in flight at the end."""
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            root_path=connections.root_path,
            proxy_headers=bool(connections.proxies.names),  # by default uvicorn would trust 127.0.0.1
            forwarded_allow_ips=[*connections.proxies.names],
            timeout_graceful_shutdown=drain_seconds,  # type: ignore[arg-type]  # of asyncio
        )
        super().__init__(config)
        self.server_state = connections

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections from these sockets, which it closes, and serve them. Signals are the caller's."""
        copies = [each.dup() for each in sockets or () for _ in range(_COPIES - 1)]
        watching = kept_running("connections", self.server_state.watch)
        try:
            await self._serve([*(sockets or ()), *copies])
        finally:
            watching.cancel()
            await asyncio.wait([watching, *self.server_state.tasks], timeout=1.0)  # each still answers
            for connection in list(self.server_state.connections):
                connection.transport.abort()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.draining = True
        # Connections that wait have a request on their way, and to close the listener would reset them. All are
        # taken before any is answered: a client that connects again after each answer would go on for ever.
        loop, connect = asyncio.get_running_loop(), partial(Protocol, self.config, self.server_state, {})
        connecting = []
        for listener in sockets or ():
            with suppress(OSError):  # no other one waits
                for _ in range(self.config.backlog):
                    waiting = listener.accept()[0]
                    connecting.append(loop.create_task(loop.connect_accepted_socket(connect, waiting)))
        await super().shutdown(sockets)
