"""What connections of REST and gRPC have in common: their limits, and whose they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

# Half a megabit a second: the least rate of a body, and of reading an answer.
MIN_BODY_BYTES_PER_SECOND = 65_536
_MOST_CHARS = 64  # of what a proxy calls an address


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of connections, in bytes and seconds.

    Attributes:
        keep_alive_seconds: idle time between two requests; longer than a proxy's in front.
        max_header_bytes: of the request line and headers; nginx allows 32 KB, HAProxy 16.
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


class Proxies:
    """The proxies whose `X-Forwarded-...` count, by uvicorn's rules. `names`: addresses and ranges."""

    def __init__(self, names: Collection[str] = ()) -> None:
        self.names = tuple(names)
        self._trusted = ProxyHeadersMiddleware(None, [*names]).trusted_hosts  # type: ignore[arg-type]

    def __contains__(self, host: str) -> bool:
        return host in self._trusted

    def client_of(self, host: str, forwarded: str) -> str:
        """The host of the client: `host` of the connection, or the last in `forwarded` that is no proxy."""
        if forwarded and host in self:
            return self._trusted.get_trusted_client_address(forwarded)[0] or host
        return host


NO_PROXIES = Proxies()


def address_of(host: str) -> str:
    """The client address of a connection: IPv4, or the first 64 bits of IPv6, which belong to one customer."""
    if ":" not in host:
        return host[:_MOST_CHARS]
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:  # a proxy may write anything
        return host[:_MOST_CHARS]
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))
