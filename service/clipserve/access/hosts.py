"""The names by which the service may be called where only its machine is trusted.

A web page can have its own name lead to 127.0.0.1 (DNS rebinding). The browser then takes the service for the
page's own server, and lets its scripts ask and change whatever they like. The header Host has the page's name.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection

from clipserve.errors import MisdirectedRequest


@functools.lru_cache(16)  # to parse an address takes as long as to parse a request
def is_loopback(host: str) -> bool:
    """Whether this is a name, or an address, of the machine itself. No other can be given `localhost` by DNS."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def name_of(host: str) -> str:
    """A header Host without its port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


class Hosts:
    """`besides`: the names that are answered besides those of loopback; None: all are."""

    def __init__(self, besides: Collection[str] | None = None) -> None:
        self._besides = besides

    def check(self, host: bytes | None) -> None:
        """Of a header Host. No browser leaves it out.

        Raises:
            MisdirectedRequest: it is not for this service.
        """
        if self._besides is None or not host:
            return
        name = name_of(host.decode("latin-1"))
        if not is_loopback(name) and name not in self._besides:
            raise MisdirectedRequest(
                f"the request is for the host `{name[:64]}`; a service that listens on loopback and asks for no "
                "keys answers to localhost alone. Ask for localhost, or name this host in CLIPSERVE_ALLOWED_HOSTS."
            )


ANY = Hosts()
