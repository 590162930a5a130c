"""uvicorn's server with our own connections, and with a listener that accepts all connections that wait."""

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
from clipserve.http1.answers import Refuse, Render, refusal
from clipserve.http1.connection import Connection
from clipserve.http1.connections import Connections
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

_AT_ONCE = 64  # connections accepted between two turns of the event loop; each is an open file
_AGAIN_SECONDS = 1.0  # until the next try, if the process has too many open files


class HttpServer(uvicorn.Server):
    """Serves an application: `serve` runs until `end` is called.

    It accepts all connections that wait, up to 64 in one turn of the event loop. uvloop's own listener accepts one
    (libuv since 1.45): an address that is refused and connects again, on hundreds of sockets, would keep all others
    waiting for hundreds of turns.

    Attributes:
        connect: makes the protocol of a new connection.
        started: it listens.
    """

    def __init__(
        self,
        app: ASGIApp,
        drain_seconds: float,
        connections: Connections,
        render: Render,
        metrics: Metrics,
        kind: Callable[[ASGIApp, Connections, Refuse], asyncio.Protocol] = Connection,
    ) -> None:
        """Make a server of this application.

        Args:
            drain_seconds: what the requests in flight have at the end.
            render: renders errors.
            kind: the class of connections.
        """
        config = uvicorn.Config(
            app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=drain_seconds,  # type: ignore[arg-type]  # it is a timeout of asyncio
        )
        super().__init__(config)
        self.connect = partial(kind, app, connections, partial(refusal, render, metrics))
        self.server_state = self._connections = connections
        self._connecting: set[asyncio.Task[Any]] = set()

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Accept connections from these sockets, which it closes, and serve them."""
        watching = kept_running("connections", self._connections.watch)
        try:
            await super().serve([*(sockets or ())])
        finally:
            watching.cancel()
            self._connections.abort()

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
        await super().shutdown(sockets)

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave signals to the caller: uvicorn would end the process by the signal, not with status 0."""
        return nullcontext()

    def _listen(self, listener: socket.socket) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_AT_ONCE):
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):  # none waits, or it has left
                return
            except OSError as error:  # the process has too many open files
                logger.warning("cannot_accept", reason=error.strerror, again_in_seconds=_AGAIN_SECONDS)
                loop.remove_reader(listener)
                loop.call_later(_AGAIN_SECONDS, self._listen, listener)
                return
            task = loop.create_task(loop.connect_accepted_socket(self.connect, accepted))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)
