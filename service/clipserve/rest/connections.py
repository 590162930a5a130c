"""The connections of a server: their limit, and which one is closed for a new one."""

from __future__ import annotations

import asyncio
import select
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from typing import Protocol as Interface

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from clipserve.connections import NO_PROXIES, ConnectionLimits, Proxies
from clipserve.errors import ClipError, TooManyConnections
from clipserve.rest.errors import rendered
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

_SECONDS_BETWEEN_CHECKS = 0.25


class Phase(IntEnum):
    """The phases of a connection, in the order in which connections are closed for new ones."""

    IDLE = 0  # no byte of a request has arrived
    FLUSHING = 1  # the answer is written but not yet taken
    READING = 2  # a part of a request has arrived
    WORKING = 3  # all of it has arrived, or it is answered meanwhile; never closed for another connection


class Member(Interface):
    """A connection, as seen here; see `rest.protocol`.

    `proxied`: it is a trusted proxy's. `since`: when its phase began, of `time.monotonic()`.
    """

    address: str
    proxied: bool
    since: float

    @property
    def transport(self) -> asyncio.Transport: ...

    @property
    def phase(self) -> Phase: ...

    def check(self, now: float) -> None: ...

    def shutdown(self) -> None: ...


class Connections(ServerState):
    """The open connections, as a part of uvicorn's state. At a limit, a new one closes one that is not working.

    An address has at most half of all, whatever they do; if it has so many, that is an idle one of its own.

    If all together are too many, it is one of an address with more connections than the new one's, the address
    with most first: an idle one if there is any, else one whose answer is not taken or whose request is incomplete.
    If no address has one, it is an idle one of the same address.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        metrics: Metrics,
        proxies: Proxies = NO_PROXIES,
        *,
        shares_address: bool = False,
    ) -> None:
        """Make a table.

        Args:
            proxies: those trusted, each of which may have all connections.
            shares_address: all clients have the address of a proxy, which may have all connections.
        """
        super().__init__()
        self.limits = limits
        self.proxies = proxies
        self.draining = False  # each answer is the last of its connection
        self.connections: set[Member] = set()  # type: ignore[assignment]
        self._metrics = metrics
        most = limits.max_connections
        self._limit_of_address = most if shares_address else (most + 1) // 2
        self._by_address: Counter[str] = Counter()

    def admit(self, newcomer: Member) -> None:
        """Count a new connection, and close another one if necessary.

        Raises:
            TooManyConnections: no other one can be closed.
        """
        self.connections.discard(newcomer)  # uvicorn has added it
        address, limit, count = newcomer.address, self.limits.max_connections, self._by_address
        own = count[address]
        limit_of_address = limit if newcomer.proxied else self._limit_of_address
        if own >= limit_of_address and not self._close_one((address,), Phase.IDLE):
            raise _too_many("your address has", own, limit_of_address)
        if len(self.connections) >= limit:
            larger = [each for each, number in count.most_common() if number > own]
            if not (self._close_one(larger, Phase.READING) or self._close_one((address,), Phase.IDLE)):
                raise _too_many("there are", len(self.connections), limit)
        self.connections.add(newcomer)
        count[address] += 1

    def discard(self, member: Member) -> None:
        """Stop counting a connection; does nothing if it was not counted."""
        if member in self.connections:
            self.connections.discard(member)
            self._by_address[member.address] -= 1
            self._by_address += Counter()  # without zeros

    async def watch(self) -> None:
        """Check all connections periodically: cheaper than a timer for each, set and reset at each request."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)
            now = time.monotonic()
            for member in list(self.connections):
                member.check(now)

    def refusal(self, error: ClipError, seconds: float) -> bytes:
        """The answer to a connection without a request for the application, whose last answer it is.

        It is counted and logged. `seconds`: the time since the connection's phase began.
        """
        request_id = uuid.uuid4().hex
        outcome, response = rendered(error, request_id)
        self._metrics.request("other", outcome, seconds)
        logger.info("request", endpoint="other", outcome=outcome, request_id=request_id)
        own = ((b"x-request-id", request_id.encode()), (b"connection", b"close"))
        headers = [*self.default_headers, *response.raw_headers, *own]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body)

    def _close_one(self, addresses: Iterable[str], latest: Phase) -> bool:
        """Close the connection in the earliest phase, up to `latest`, and in it for the longest time.

        It is one of the first address that has any.
        """
        for address in addresses:
            own = (each for each in self.connections if each.address == address and each.phase <= latest)
            if chosen := min(own, key=lambda each: (each.phase, each.since), default=None):
                self.discard(chosen)
                chosen.transport.abort()
                return True
        return False


def _too_many(who: str, actual: int, limit: int) -> TooManyConnections:
    return TooManyConnections(
        f"{who} {actual:,} connections, none of them idle; the limit is {limit:,}. Keep fewer open, or try again "
        "later.",
        limit=limit,
        actual=actual,
    )


def has_left(transport: asyncio.Transport) -> bool:
    """Whether the client has closed or reset its connection. Without a read, no event reports that."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLRDHUP)
    return bool(poll.poll(0))
