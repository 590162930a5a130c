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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from clipserve.concurrency import in_own_thread
from clipserve.errors import ImageNotFetched, Overloaded
from clipserve.fetching.hosts import Host, Target, target_of
from clipserve.fetching.response import NotAnImage, Response
from clipserve.fetching.shares import Held, Shares
from clipserve.telemetry.log import logger

if TYPE_CHECKING:
    from clipserve.telemetry.metrics import Metrics

AT_ONCE = 64  # images that are being fetched, or are here and not yet encoded
MAX_BYTES = 128_000_000  # of fetched images in memory
REDIRECTS = 3
FETCH_SECONDS = 5.0  # with its redirects
_READ_BYTES = 16_384  # which are parsed in two milliseconds at most
_MOVED = frozenset({301, 302, 303, 307, 308})
_TYPES = ("image/", "application/octet-stream", "binary/octet-stream")  # object stores send the last two
_HEADERS = "User-Agent: clipserve\r\nAccept: image/*\r\nAccept-Encoding: identity\r\n\r\n"

Resolve = Callable[[str, int], list[str]]  # (name, port) -> addresses
Reserve = Callable[[int], Awaitable[None]]  # waits for so many bytes


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name by the system's resolver. Raises OSError: there are none."""
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Fetcher:
    """Fetches images from listed hosts, without cookies, keys, proxies or persistent connections.

    Callers share its slots and its bytes: see `Shares`. The time of a fetch begins when it has a slot, and stands
    still while it waits for bytes: a busy service must not look like a slow host.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        max_bytes: int,
        metrics: Metrics,
        *,
        seconds: float = FETCH_SECONDS,
        resolve: Resolve = resolve,
    ) -> None:
        """`max_bytes`: of an image. `seconds`: of a fetch with its redirects."""
        self._hosts = hosts
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._seconds = seconds
        self._resolve = resolve
        self._slots = Shares("places for fetched images", AT_ONCE)
        self._bytes = Shares("bytes for fetched images", max(MAX_BYTES, max_bytes))
        self._tls = ssl.create_default_context()

    @asynccontextmanager
    async def fetched(self, url: str, caller: str) -> AsyncIterator[bytes]:
        """The bytes of `url`, which are in memory during the block. `caller`: whose share they are of.

        Raises:
            ImageNotFetched: the host is not listed, resolves to a forbidden address, or does not return an image.
            Overloaded: other images took too much of the request's time.
        """
        async with AsyncExitStack() as stack:
            held = await stack.enter_async_context(self._slots.awaited(caller, 1))
            clock = asyncio.timeout(self._seconds)

            async def reserve(size: int) -> None:
                began = asyncio.get_running_loop().time()
                until = clock.when() or began
                clock.reschedule(None)
                await stack.enter_async_context(self._bytes.awaited(caller, size))
                clock.reschedule(until + asyncio.get_running_loop().time() - began)

            try:
                async with clock:
                    data = await self._followed(url, held, reserve)
            # ValueError: a name that no DNS query can hold, or an invalid URL of a redirect.
            except (NotAnImage, OSError, ValueError) as error:
                raise self._failed(url, error) from None
            self._metrics.images_fetched("fetched").inc()
            yield data

    def _failed(self, url: str, error: Exception) -> ImageNotFetched:
        self._metrics.images_fetched("failed").inc()
        target = target_of(url)  # only the host is logged: path and query may hold secrets
        reason = str(error)[:200] or type(error).__name__
        logger.warning("image_not_fetched", host=target.host if target else None, reason=reason)
        return ImageNotFetched(
            "the image could not be fetched from its URL. The host must be one that this service fetches from "
            f"(CLIPSERVE_IMAGE_HOSTS), and answer with an image of at most {self._max_bytes:,} bytes within "
            f"{self._seconds:g} s. The log of the service has the reason."
        )

    async def _followed(self, url: str, held: Held, reserve: Reserve) -> bytes:
        for _ in range(1 + REDIRECTS):
            target = target_of(url)
            if target is None:
                raise NotAnImage("not a URL that is fetched from any host")
            address = await self._address(target, held)
            async with self._asked(target, address) as (response, reader):
                while not response.status:
                    await _read(response, reader)
                if response.status not in _MOVED:
                    return await self._body(response, reader, reserve)
            if b"location" not in response.headers:
                raise NotAnImage("a redirect leads nowhere")
            url = urljoin(url, response.headers[b"location"])
        raise NotAnImage(f"more than {REDIRECTS} redirects")

    async def _address(self, target: Target, held: Held) -> str:
        """One address of the name, if all its addresses are allowed."""
        host = next((host for host in self._hosts if host.matches(target)), None)
        if host is None:
            raise NotAnImage("the host is not listed in CLIPSERVE_IMAGE_HOSTS")
        # The system's resolver cannot be interrupted: a fetch whose time is over holds its slot as long as this.
        try:
            job = in_own_thread("resolve", self._resolve, target.host, target.port)
        except RuntimeError:
            raise Overloaded("no thread is left to resolve the name of a host.", retry_after=1) from None
        held.until = asyncio.wrap_future(job)
        addresses: list[str] = await asyncio.shield(held.until)
        for address in addresses:
            if not host.admits(ip_address(address)):
                raise NotAnImage(f"the host has the address {address}, which is not allowed")
        if not addresses:
            raise NotAnImage("the host has no address")
        return addresses[0]

    @asynccontextmanager
    async def _asked(
        self, target: Target, address: str
    ) -> AsyncIterator[tuple[Response, asyncio.StreamReader]]:
        """The request is sent to an address, for a name; the response is to be read."""
        tls, name = (self._tls, target.host) if target.scheme == "https" else (None, None)
        reader, writer = await asyncio.open_connection(address, target.port, ssl=tls, server_hostname=name)
        response = Response(self._max_bytes)
        try:
            writer.write(f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n{_HEADERS}".encode())
            yield response, reader
        finally:
            response.close()
            writer.transport.abort()

    async def _body(self, response: Response, reader: asyncio.StreamReader, reserve: Reserve) -> bytes:
        if response.status != 200:
            raise NotAnImage(f"the status is {response.status}")
        if not response.headers.get(b"content-type", "").lower().startswith(_TYPES):
            raise NotAnImage("the Content-Type is not that of an image")
        if response.headers.get(b"content-encoding", "identity").lower() != "identity":
            raise NotAnImage("the body is compressed")
        await reserve(self._max_bytes if response.announced is None else response.announced)
        while not response.complete:
            await _read(response, reader)
        return response.body


async def _read(response: Response, reader: asyncio.StreamReader) -> None:
    response.feed(await reader.read(_READ_BYTES))
    await asyncio.sleep(0)  # the reader does not wait where it has more: others have their turn
