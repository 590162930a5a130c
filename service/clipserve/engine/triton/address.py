"""Addresses of Triton servers: parses the setting, and looks names up."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Address:
    """The host and port in a setting. `host`: a name, or an address of IPv4 or of IPv6 without brackets."""

    host: str
    port: int

    @property
    def is_name(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    def at(self, ip: str) -> str:
        """This port of an IP address, in gRPC's form."""
        return f"[{ip}]:{self.port}" if ":" in ip else f"{ip}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse host:port or [IPv6]:port. Raises ValueError with a message for the operator."""
    written = _WRITTEN.fullmatch(text)
    address = Address(written["ipv6"] or written["host"], int(written["port"])) if written else None
    if address is None or not 0 < address.port < 65_536 or (text.startswith("[") and address.is_name):
        raise ValueError(
            f"{text!r} is not host:port: write a name or an address, and a port from 1 to 65535, such as "
            "triton:8001 or [fd00::7]:8001, with no scheme"
        )
    return address


async def look_up(address: Address) -> list[str]:
    """All addresses behind a name, in gRPC's form. If a name has addresses of IPv4 and IPv6, only those of IPv4.

    One server may have both, and would count twice.

    Raises:
        OSError: the name has no address, or no name server answers.
    """
    if not address.is_name:
        return [address.at(address.host)]
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    family = min((each[0] for each in found), key=lambda each: each != socket.AF_INET)
    return sorted({address.at(str(each[4][0])) for each in found if each[0] == family})
