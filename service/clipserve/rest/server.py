"""uvicorn's server with our protocol, and with a listener that accepts all connections that wait."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from clipserve.concurrency import kept_running
from clipserve.rest.connections import Connections
from clipserve.rest.protocol import Protocol
from clipserve.telemetry.log import logger

_AT_ONCE = 64  # connections accepted between two turns of the event loop; each is an open file
_AGAIN_SECONDS = 1.0  # until the next try, if the process has too many open files


class Server(uvicorn.Server):
    """Serves an application: `serve` runs until `end` is called.

    It accepts all connections that wait, up to 64 in one turn of the event loop. uvloop's own listener accepts one
    (libuv since 1.45): an address that is refused and connects again, on hundreds of sockets, would keep all others
    waiting for hundreds of turns.

    Attributes:
        connect: makes the protocol of a new connection.
        started: it listens.
    """

    def __init__(self, app: ASGIApp, connections: Connections, drain_seconds: float) -> None:
        """Make a server of this application. `drain_seconds`: what the requests in flight have at the end."""
        config = uvicorn.Config(
            app,
            http=Protocol,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=bool(connections.proxies.names),  # by default uvicorn would trust 127.0.0.1
            forwarded_allow_ips=[*connections.proxies.names],
            timeout_keep_alive=connections.limits.keep_alive_seconds,  # type: ignore[arg-type]  # of asyncio
            timeout_graceful_shutdown=drain_seconds,  # type: ignore[arg-type]  # of asyncio
        )
        super().__init__(config)
        self.server_state = self._connections = connections
        self.connect: Callable[[], asyncio.Protocol] = partial(Protocol, config, connections, {})
        self._connecting: set[asyncio.Task[Any]] = set()

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Accept connections from these sockets, which it closes, and serve them."""
        watching = kept_running("connections", self._connections.watch)
        try:
            await super().serve([*(sockets or ())])
        finally:
            watching.cancel()
            for connection in list(self._connections.connections):
                connection.transport.abort()

    def end(self, *, at_once: bool = False) -> None:
        """Accept no more connections; not thread-safe. `at_once`: do not wait for the requests in flight."""
        self.force_exit = self.force_exit or at_once
        self.should_exit = True

    # What uvicorn calls.

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []  # of asyncio: it has no listener
        for listener in sockets or ():
            listener.setblocking(False)
            self._listen(listener)
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._connections.draining = True
        for listener in sockets or ():
            asyncio.get_running_loop().remove_reader(listener)
            while self._accept(listener):  # those that wait have a request on its way
                pass
            listener.close()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        await super().shutdown(sockets)

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave signals to the caller: uvicorn would end the process by the signal, not with status 0."""
        return nullcontext()

    def _listen(self, listener: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> bool:
        """Accept those that wait; return whether there may be more."""
        loop = asyncio.get_running_loop()
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):  # none waits, or it has left
                return False
            except OSError as error:  # the process has too many open files
                logger.warning("cannot_accept", reason=error.strerror, again_in_seconds=_AGAIN_SECONDS)
                loop.remove_reader(listener)
                loop.call_later(_AGAIN_SECONDS, self._listen, listener)
                return False
            task = loop.create_task(loop.connect_accepted_socket(self.connect, accepted))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
        return True
