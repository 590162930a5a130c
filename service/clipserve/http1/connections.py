"""All connections of the front: how many there may be, who makes room for whom, and who has had its time."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, ip_network
from typing import Protocol

from clipserve.errors import TooManyConnections

_SECONDS_BETWEEN_CHECKS = 0.25


class Phase(IntEnum):
    """What a connection is doing now, in the order in which connections make room for others."""

    IDLE = 0  # no byte of a request has come
    FLUSHING = 1  # the answer is written, and not yet taken
    READING = 2  # a part of a request has come, and the rest is waited for
    WORKING = 3  # all of it has come, or it is answered while it comes; never closed for another


@dataclass(frozen=True)
class ConnectionLimits:
    """Numbers, bytes and seconds.

    Attributes:
        keep_alive_seconds: between two requests; longer than a proxy's in front.
        max_header_bytes: of the request line and headers, or of trailers; nginx takes 32 KB, HAProxy 16.
        first_byte_timeout_seconds: of a new connection.
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
    """What is known here of a connection. `since`: when its phase began, in seconds of `time.monotonic()`."""

    address: str
    phase: Phase
    since: float

    def check(self, now: float) -> None:
        """Close it if it has had its time."""

    def abort(self) -> None:
        """Close it now."""


class Connections:
    """A connection that comes when there is no room takes the place of one that is not at work.

    Of one from an address that has more connections than the newcomer's, the one with most of them first: an idle
    one if there is any, else one whose request is still on its way. If no address has more, of an idle one from its
    own. So a proxy alone may use all, and an address that floods the service takes nothing from the others.
    """

    def __init__(self, limits: ConnectionLimits, for_own: Phase = Phase.IDLE) -> None:
        """`for_own`: the last phase in which a connection makes room for one of its own address."""
        self.limits = limits
        self._for_own = for_own
        self.draining = False  # answers from now on are the last of their connections
        self._all: set[Member] = set()
        self._by_address: dict[str, set[Member]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def admit(self, newcomer: Member) -> None:
        """Count a connection, in the place of another if need be.

        Raises:
            TooManyConnections: no other makes room.
        """
        own = self._by_address.get(newcomer.address, set())
        limit, actual = self.limits.max_connections, len(self._all)
        if actual >= limit and not self._make_room(own):
            raise TooManyConnections(
                f"there are {actual:,} connections, none of them idle; the limit is {limit:,}. Keep fewer open, or "
                "try again later.",
                limit=limit,
                actual=actual,
            )
        self._all.add(newcomer)
        self._by_address.setdefault(newcomer.address, set()).add(newcomer)

    def discard(self, member: Member) -> None:
        """Count a connection no longer. Nothing happens if it was not counted."""
        self._all.discard(member)
        own = self._by_address.get(member.address, set())
        own.discard(member)
        if not own:
            self._by_address.pop(member.address, None)

    async def watch(self) -> None:
        """Look at each connection again and again: cheaper than a timer for each, set and reset at each request."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_CHECKS)
            now = time.monotonic()
            for member in list(self._all):
                member.check(now)

    def abort(self) -> None:
        """Close all that are left."""
        for member in list(self._all):
            member.abort()

    def _make_room(self, own: set[Member]) -> bool:
        larger = [each for each in self._by_address.values() if len(each) > len(own)]
        larger.sort(key=len, reverse=True)
        return any(self._close_one(each, Phase.READING) for each in larger) or self._close_one(
            own, self._for_own
        )

    def _close_one(self, members: Iterable[Member], latest: Phase) -> bool:
        """Of those in phases up to `latest`, the first phase first, close the one that has been in it longest."""
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


class Taking:
    """Whether a client takes what is written for it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._written = 0  # bytes, in all
        self._taken = 0  # of these, by the client's system, at `_taken_at`
        self._taken_at = 0.0

    def add(self, size: int) -> None:
        """So many bytes more are written."""
        self._written += size

    def stands_still(self, waiting: int, now: float) -> bool:
        """Whether nothing was taken for too long. `waiting`: bytes that are written and not yet taken."""
        if not waiting or self._written - waiting > self._taken:
            self._taken, self._taken_at = self._written - waiting, now
            return False
        return now - self._taken_at > self._seconds


def has_left(transport: asyncio.Transport) -> bool:
    """Whether the client has closed or reset its connection. While nothing is read there, no event says so."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLRDHUP)
    return bool(poll.poll(0))


def address_of(host: str) -> str:
    """Whose a connection is: an IPv4 address, or the 64 bits of an IPv6 address that one customer has whole."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
