"""Decides which URLs may be fetched: those of listed hosts that resolve to public addresses or to a listed network.

One strict pattern matches a URL, and only its groups are used: a second parser that read the URL differently could
bypass the list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Self

MAX_URL_CHARS = 4_096
PORTS = {"https": 443, "http": 80}
_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_LISTED = re.compile(rf"(?:(https?)://)?((?:\*\.)?{_NAME})(?::([0-9]{{1,5}}))?(?:=([0-9a-f.:/]+))?")
# No user, no IPv6 address, no character outside ASCII, no backslash.
_URL = re.compile(rf"(https?)://({_NAME})(?::([0-9]{{1,5}}))?([/?][!-\[\]-~]*)?", re.IGNORECASE | re.ASCII)
# The range that IANA assigns to public hosts; others contain IPv4 addresses, or are of this network.
_PUBLIC_IPV6 = ip_network("2000::/3")
# Of IANA's registries of special-purpose addresses, what ipaddress takes for global in some release of Python:
# protocol assignments, relays of 6to4, AS112 and AMT, 6to4 with an IPv4 address inside, documentation.
_SPECIAL = [
    *(ip_network(f"192.{rest}/24") for rest in ("0.0.0", "31.196.0", "52.193.0", "88.99.0", "175.48.0")),
    *map(ip_network, ("2001::/23", "2002::/16", "2620:4f:8000::/48", "3fff::/20")),
]


@dataclass(frozen=True)
class Target:
    """What a URL names. `path`: with the query."""

    scheme: str
    host: str
    port: int
    path: str


@dataclass(frozen=True)
class Host:
    """An entry of the list. A `name` that begins with `*.` matches any subdomain, but not the domain itself."""

    scheme: str
    name: str
    port: int
    network: IPv4Network | IPv6Network | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `[http://]NAME[:PORT][=NETWORK]`; the default scheme is https.

        Raises:
            ValueError: the entry is malformed.
        """
        match = _LISTED.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text[:200]!r} is not a host: write images.example.com, *.example.com, or "
                "http://files.internal:9000=10.0.0.0/8 for one without TLS whose addresses are not public"
            )
        scheme, network = match[1] or "https", ip_network(match[4]) if match[4] else None
        return cls(scheme, match[2], int(match[3] or PORTS[scheme]), network)

    def matches(self, target: Target) -> bool:
        """Whether this entry is for that host."""
        if (target.scheme, target.port) != (self.scheme, self.port):
            return False
        return target.host.endswith(self.name[1:]) if self.name.startswith("*.") else target.host == self.name

    def admits(self, address: IPv4Address | IPv6Address) -> bool:
        """Whether the name may resolve to this address: one of its network; without a network, any public one."""
        if self.network is not None:
            return address in self.network
        if isinstance(address, IPv6Address) and address not in _PUBLIC_IPV6:
            return False
        return (
            address.is_global and not address.is_multicast and not any(address in each for each in _SPECIAL)
        )


def target_of(url: str) -> Target | None:
    """What a URL names; None: it can never be fetched."""
    match = _URL.fullmatch(url.partition("#")[0]) if len(url) <= MAX_URL_CHARS else None
    if match is None:
        return None
    scheme, path = match[1].lower(), match[4] or "/"
    path = path if path[0] == "/" else f"/{path}"
    return Target(scheme, match[2].lower(), int(match[3] or PORTS[scheme]), path)
