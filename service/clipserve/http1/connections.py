"""The connections of a front: limits their number and the time of each phase, and closes some for new ones."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, ip_network
from typing import Protocol

from uvicorn.server import ServerState

from clipserve.errors import TooManyConnections

_SECONDS_BETWEEN_CHECKS = 0.25


class Phase(IntEnum):
    """The phases of a connection, in the order in which connections are closed for new ones."""

    IDLE = 0  # no byte of a request has arrived
    FLUSHING = 1  # the answer is written but not yet taken
    READING = 2  # a part of a request has arrived
    WORKING = 3  # all of it has arrived, or it is answered meanwhile; never closed for another connection


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of connections, in bytes and seconds.

    Attributes:
        keep_alive_seconds: idle time between two requests; longer than a proxy's in front.
        max_header_bytes: of the request line and headers, or of trailers; nginx allows 32 KB, HAProxy 16.
        first_byte_timeout_seconds: until the first byte of a new connection.
        header_timeout_seconds: from the first byte of a head to its last.
        write_timeout_seconds: in which a client must take a part of its answer.
    """

    max_connections: int
    keep_alive_seconds: float
    max_header_bytes: int = 65_536
    first_byte_timeout_seconds: float = 10.0
    header_timeout_seconds: float = 5.0
    write_timeout_seconds: float = 10.0


class Member(Protocol):
    """A connection, as seen here. `since`: when its phase began, in seconds of `time.monotonic()`."""

    address: str
    phase: Phase
    since: float

    def check(self, now: float) -> None:
        """Close it if a timeout is over."""

    def shutdown(self) -> None:
        """Close it, unless a part of a request has arrived."""

    def abort(self) -> None:
        """Close it now."""


class Answering(Protocol):
    """A request that is being answered."""

    def cancel(self, msg: str) -> object:
        """Give it up; uvicorn says why."""


class Connections(ServerState):
    """The open connections, and a server's state. At a limit, a new one closes one that is not working.

    An address has at most half of all, whatever they do; if it has so many, that is an idle one of its own.

    If all together are too many, it is one of an address with more connections than the new one's, the address
    with most first: an idle one if there is any, else one whose answer is not taken or whose request is incomplete.
    If no address has one, it is an idle one of the same address.

    Attributes:
        draining: each answer is the last of its connection.
        connections: all of them; uvicorn's shutdown calls `shutdown` of each, and waits until there are none.
        tasks: the requests that are being answered; it waits for them too, and cancels them in the end.
        default_headers: of every answer; uvicorn sets the date.
    """

    def __init__(
        self, limits: ConnectionLimits, for_own: Phase = Phase.IDLE, *, shares_address: bool = False
    ) -> None:
        """Make a table.

        Args:
            for_own: the last phase in which a connection is closed for a new one of its own address.
            shares_address: all clients have the address of a proxy, which may have all connections.
        """
        super().__init__()
        self.limits = limits
        self._for_own = for_own
        most = limits.max_connections
        self._limit_of_address = most if shares_address else (most + 1) // 2
        self.draining = False
        # Of our own kinds.
        self.connections: set[Member] = set()  # type: ignore[assignment]
        self.tasks: set[Answering] = set()  # type: ignore[assignment]
        self._by_address: dict[str, set[Member]] = {}

    def __len__(self) -> int:
        return len(self.connections)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self.connections))

    def admit(self, newcomer: Member) -> None:
        """Count a new connection, and close another one if necessary.

        Raises:
            TooManyConnections: no other one can be closed.
        """
        own = self._by_address.get(newcomer.address, set())
        if len(own) >= self._limit_of_address and not self._close_one(own, self._for_own):
            raise _too_many("your address has", len(own), self._limit_of_address)
        limit, actual = self.limits.max_connections, len(self.connections)
        if actual >= limit and not self._make_room(own):
            raise _too_many("there are", actual, limit)
        self.connections.add(newcomer)
        self._by_address.setdefault(newcomer.address, set()).add(newcomer)

    def discard(self, member: Member) -> None:
        """Stop counting a connection; does nothing if it was not counted."""
        self.connections.discard(member)
        own = self._by_address.get(member.address, set())
        own.discard(member)
        if not own:
            self._by_address.pop(member.address, None)

    async def watch(self) -> None:
        """Check all connections periodically: cheaper than a timer for each, set and reset at each request."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)
            now = time.monotonic()
            for member in self:
                member.check(now)

    def abort(self) -> None:
        """Close all remaining connections."""
        for member in self:
            member.abort()

    def _make_room(self, own: set[Member]) -> bool:
        larger = [each for each in self._by_address.values() if len(each) > len(own)]
        larger.sort(key=len, reverse=True)
        return any(self._close_one(each, Phase.READING) for each in larger) or self._close_one(
            own, self._for_own
        )

    def _close_one(self, members: Iterable[Member], latest: Phase) -> bool:
        """Close the connection in the earliest phase, up to `latest`, and in it for the longest time."""
        chosen = min(
            (member for member in members if member.phase <= latest),
            key=lambda member: (member.phase, member.since),
            default=None,
        )
        if chosen is None:
            return False
        self.discard(chosen)
        chosen.abort()
        return True


def _too_many(who: str, actual: int, limit: int) -> TooManyConnections:
    return TooManyConnections(
        f"{who} {actual:,} connections, none of them idle; the limit is {limit:,}. Keep fewer open, or try again "
        "later.",
        limit=limit,
        actual=actual,
    )


class Taking:
    """Tracks whether a client takes the written bytes. `written`: how many in all."""

    def __init__(self, seconds: float) -> None:
        self.written = 0
        self._seconds = seconds
        self._taken = 0  # by the client's system, at `_taken_at`
        self._taken_at = 0.0

    def stands_still(self, waiting: int, now: float) -> bool:
        """Whether nothing was taken for too long. `waiting`: bytes written and not yet taken."""
        if not waiting or self.written - waiting > self._taken:
            self._taken, self._taken_at = self.written - waiting, now
            return False
        return now - self._taken_at > self._seconds


def has_left(transport: asyncio.Transport) -> bool:
    """Whether the client has closed or reset its connection. Without a read, no event reports that."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLRDHUP)
    return bool(poll.poll(0))


def address_of(host: str) -> str:
    """The client address of a connection: IPv4, or the first 64 bits of IPv6, which belong to one customer."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
