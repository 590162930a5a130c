"""uvicorn's server and its state, with our protocol and our limits of connections."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from clipserve.concurrency import kept_running
from clipserve.connections import NO_PROXIES, ConnectionLimits, Proxies
from clipserve.errors import TooManyConnections
from clipserve.rest.protocol import Phase, Protocol
from clipserve.telemetry.metrics import Metrics

# uvloop accepts one connection of a listener in a turn of the event loop. So it gets copies: an address that is
# refused and connects again, on hundreds of sockets, would keep all others waiting for hundreds of turns.
_COPIES = 16
_SECONDS_BETWEEN_CHECKS = 0.25


class Connections(ServerState):
    """The open connections, as a part of uvicorn's state. At a limit, a new one closes another one.

    An address has at most half of all; if it has so many, that is an idle one of its own. If all together are too
    many, it is an idle or unfinished one of the address with most, if that has more than the new one's.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        metrics: Metrics,
        proxies: Proxies = NO_PROXIES,
        *,
        shares_address: bool = False,
    ) -> None:
        """`proxies`, and all with `shares_address`, stand for many clients: each may have all connections."""
        super().__init__()
        self.limits, self.metrics, self.proxies = limits, metrics, proxies
        self.draining = False  # each answer is the last of its connection
        self.connections: set[Protocol] = set()  # type: ignore[assignment]
        most = limits.max_connections
        self._most_of_address = most if shares_address else (most + 1) // 2

    def admit(self, newcomer: Protocol) -> None:
        """Take a new connection, and close another one if necessary.

        Raises:
            TooManyConnections: no other one can be closed.
        """
        members, most, address = self.connections, self.limits.max_connections, newcomer.address
        members.discard(newcomer)  # uvicorn has added it
        most_own = most if newcomer.proxied else self._most_of_address
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
        """Check all connections periodically: cheaper than a timer for each, set and reset at each request."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)
            for member in list(self.connections):
                member.check(time.monotonic())


class Server(uvicorn.Server):
    """Serves an application: `serve` runs until `end` is called. `started`: it listens."""

    server_state: Connections

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
        self.server_state = connections
        self._listeners: Sequence[socket.socket] = ()
        self._copies = copies

    async def serve(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Accept connections from these sockets, which it closes, and serve them. Signals are the caller's."""
        self._listeners = sockets or ()
        watching = kept_running("connections", self.server_state.watch)
        try:
            await self._serve([each.dup() for each in self._listeners for _ in range(self._copies)])
        finally:
            watching.cancel()
            for connection in list(self.server_state.connections):
                connection.transport.abort()

    def end(self, *, at_once: bool = False) -> None:
        """Accept no more connections; not thread-safe. `at_once`: do not wait for the requests in flight."""
        self.force_exit = self.force_exit or at_once
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.server_state.draining = True
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
        connect = partial(Protocol, self.config, self.server_state, {})
        for each in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(connect, each)
        await super().shutdown(sockets)
