"""The connections of a server: their limit, and which one is closed for a new one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from enum import IntEnum
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

from clipserve.connections import NO_PROXIES, ConnectionLimits, Proxies
from clipserve.errors import TooManyConnections
from clipserve.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from clipserve.rest.protocol import Protocol

_SECONDS_BETWEEN_CHECKS = 0.25

Phase = IntEnum("Phase", "IDLE HEAD BODY WORKING ENDING")  # of a request; ENDING: there is no next one


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
        self._count: Counter[str] = Counter()

    def admit(self, newcomer: Protocol) -> None:
        """Count a new connection, and close another one if necessary.

        Raises:
            TooManyConnections: no other one can be closed.
        """
        self.connections.discard(newcomer)  # uvicorn has added it
        count, address, most = self._count, newcomer.address, self.limits.max_connections
        own, most_own = count[address], most if newcomer.proxied else self._most_of_address
        full = len(self.connections) >= most
        if own >= most_own or full:
            candidates = [
                each
                for each in self.connections
                if (each.address == address and each.is_idle)
                or (own < most_own and count[each.address] > own and each.phase is not Phase.WORKING)
            ]
            if not candidates:
                who, limit = ("there are", most) if full else ("your address has", most_own)
                message = (
                    f"{who} {limit:,} connections, none of them idle, and that is the limit. Keep fewer open."
                )
                raise TooManyConnections(message, limit=limit, actual=limit)
            chosen = min(candidates, key=lambda each: (-count[each.address], not each.is_idle, each.since))
            self.discard(chosen)
            chosen.transport.abort()
        self.connections.add(newcomer)
        count[address] += 1

    def discard(self, member: Protocol) -> None:
        """Stop counting a connection; does nothing if it was not counted."""
        if member in self.connections:
            self.connections.discard(member)
            self._count[member.address] -= 1
            if not self._count[member.address]:
                del self._count[member.address]

    async def watch(self) -> None:
        """Check all connections periodically: cheaper than a timer for each, set and reset at each request."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)
            for member in list(self.connections):
                member.check(time.monotonic())
