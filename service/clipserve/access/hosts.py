"""The host names that the service answers to if only its own machine is trusted.

A web page's own name can resolve to 127.0.0.1 (DNS rebinding). The browser then takes the service for the page's
server, and lets the page's scripts read and change everything. The header Host has the page's name.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Collection

from clipserve.errors import MisdirectedRequest

ROOT_PATH = r"(/[\w~-][\w.~-]*)*"  # of a service behind a proxy


def is_loopback(host: str) -> bool:
    """Whether this is `localhost`, which DNS cannot give to another machine, or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def name_of(host: str) -> str:
    """The value of a header Host without its port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].removesuffix(".")


class Hosts:
    """Checks the header Host. `besides`: accepted names besides those of loopback; None: all names."""

    def __init__(self, besides: Collection[str] | None = None) -> None:
        self._besides = besides
        self._accepts = functools.lru_cache(16)(self._accepts_name)  # nearly all requests have the same

    def check(self, host: bytes | None) -> None:
        """Check the value of a header Host, which every browser sends.

        Raises:
            MisdirectedRequest: the name is not accepted.
        """
        if self._besides is not None and host and not self._accepts(host):
            raise MisdirectedRequest(
                f"the request is for the host `{name_of(host.decode('latin-1'))[:64]}`; without keys, a service on "
                "loopback accepts only localhost. Use localhost, or add this host to CLIPSERVE_ALLOWED_HOSTS."
            )

    def _accepts_name(self, host: bytes) -> bool:
        name = name_of(host.decode("latin-1"))
        return is_loopback(name) or name in (self._besides or ())


ANY = Hosts()
