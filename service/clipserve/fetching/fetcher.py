"""Fetches a URL with limits of time, size, type and redirects, from checked addresses.

A name cannot lead into the internal network: it is resolved once, each of its addresses is checked, and the
connection is made to one of these addresses, not to the name. TLS verifies the certificate for the name. A redirect
is treated like the first URL: its host must be listed, and its addresses are checked.

Every failure gives the caller the same sentence, so that nobody can find out what answers inside a network. The
reason is in the log.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpcore2 as httpcore
import structlog

from clipserve.concurrency import DaemonExecutor
from clipserve.errors import ImageNotFetched
from clipserve.fetching.hosts import Host, Place, listed, place_of

if TYPE_CHECKING:
    from clipserve.telemetry.metrics import Metrics

AT_ONCE = 16  # fetches
REDIRECTS = 3
_RESOLVERS = 4  # threads; the system's resolver cannot be interrupted
_MOVED = frozenset({301, 302, 303, 307, 308})
_TYPES = ("image/", "application/octet-stream", "binary/octet-stream")  # object stores send the last two
_HEADERS = {"User-Agent": "clipserve", "Accept": "image/*", "Accept-Encoding": "identity"}

Resolve = Callable[[str, int], list[str]]  # (name, port) -> addresses
Grow = Callable[[int], None]  # takes bytes from a budget

log = structlog.get_logger()


class _Refused(Exception):
    """An image is not fetched; the message is for the log."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name by the system's resolver. Raises OSError: there are none."""
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Fetcher:
    """Fetches images from listed hosts, without cookies, keys, proxies or persistent connections."""

    def __init__(
        self,
        hosts: Sequence[Host],
        max_bytes: int,
        metrics: Metrics,
        *,
        seconds: float = 5.0,
        resolve: Resolve = resolve,
    ) -> None:
        """`max_bytes`: of an image. `seconds`: of a fetch with its redirects."""
        self._hosts = hosts
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._seconds = seconds
        self._resolve = resolve
        # A separate pool: a name server that does not answer for half a minute delays only other fetches.
        self._resolving = DaemonExecutor(_RESOLVERS, "resolve")
        # No keep-alive: a connection is made to an address, and could be reused for another name at that address.
        self._pool = httpcore.AsyncConnectionPool(
            ssl.create_default_context(), max_connections=AT_ONCE, max_keepalive_connections=0
        )

    async def fetch(self, url: str, grow: Grow) -> bytes:
        """Fetch the bytes of `url`. `grow` is called with each number of bytes before they are stored, and may
        raise.

        Raises:
            ImageNotFetched: the host is not listed, resolves to a forbidden address, or does not return an image.
        """
        try:
            async with asyncio.timeout(self._seconds):
                data = await self._followed(url, grow)
        # ValueError: a name that no DNS query can hold, or an invalid URL of a redirect.
        except (_Refused, OSError, ValueError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            self._metrics.images_fetched("failed").inc()
            place = place_of(url)  # only the host is logged: path and query may hold secrets
            reason = str(error)[:200] or type(error).__name__
            log.warning("image_not_fetched", host=place.host if place else None, reason=reason)
            raise ImageNotFetched(
                "the image could not be fetched from its URL. The host must be one that this service fetches from "
                f"(CLIPSERVE_IMAGE_HOSTS), and answer with an image of at most {self._max_bytes:,} bytes within "
                f"{self._seconds:g} s. The log of the service has the reason."
            ) from None
        self._metrics.images_fetched("fetched").inc()
        return data

    async def aclose(self) -> None:
        """Cancel the running fetches."""
        self._resolving.shutdown()
        await self._pool.aclose()

    async def _followed(self, url: str, grow: Grow) -> bytes:
        for _ in range(1 + REDIRECTS):
            place = place_of(url)
            if place is None:
                raise _Refused("not a URL that is fetched from any host")
            address = await self._address(place)
            answer = await self._pool.handle_async_request(_request(place, address))
            headers = {name.lower(): value.decode("latin-1") for name, value in answer.headers}
            try:
                if answer.status not in _MOVED:
                    return await self._body(answer, headers, grow)
            finally:
                await answer.aclose()
            if b"location" not in headers:
                raise _Refused("a redirect leads nowhere")
            url = urljoin(url, headers[b"location"])
        raise _Refused(f"more than {REDIRECTS} redirects")

    async def _address(self, place: Place) -> str:
        """One address of the name, if all its addresses are allowed."""
        host = listed(self._hosts, place.scheme, place.host, place.port)
        if host is None:
            raise _Refused("the host is not listed in CLIPSERVE_IMAGE_HOSTS")
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._resolving, self._resolve, place.host, place.port)
        for address in addresses:
            if not host.admits(ip_address(address)):
                raise _Refused(f"the host has the address {address}, which is not allowed")
        if not addresses:
            raise _Refused("the host has no address")
        return addresses[0]

    async def _body(self, answer: httpcore.Response, headers: Mapping[bytes, str], grow: Grow) -> bytes:
        if answer.status != 200:
            raise _Refused(f"the status is {answer.status}")
        if not headers.get(b"content-type", "").lower().startswith(_TYPES):
            raise _Refused("the Content-Type is not that of an image")
        if headers.get(b"content-encoding", "identity").lower() != "identity":
            raise _Refused("the body is compressed")
        announced = headers.get(b"content-length", "0")
        self._check_size(int(announced) if announced.isdecimal() else 0)
        pieces: list[bytes] = []
        size = 0
        async for piece in answer.aiter_stream():
            size += len(piece)
            self._check_size(size)
            grow(len(piece))
            pieces.append(piece)
        return b"".join(pieces)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise _Refused(f"the image has more than {self._max_bytes:,} bytes")


def _request(place: Place, address: str) -> httpcore.Request:
    """The request to an address, for a name."""
    return httpcore.Request(
        "GET",
        httpcore.URL(scheme=place.scheme, host=address, port=place.port, target=place.target),
        headers=[("Host", place.authority), *_HEADERS.items()],
        extensions={"sni_hostname": place.host},
    )
