"""Fetches a URL with limits of time, size, type and redirects, from checked addresses.

A name cannot lead into the internal network: it is resolved once, each of its addresses is checked, and the
connection is made to one of these addresses, not to the name. TLS verifies the certificate for the name. A redirect
is treated like the first URL: its host must be listed, and its addresses are checked.

Every failure gives the caller the same sentence, so that nobody can find out what answers inside a network. The
reason is in the log.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from clipserve.concurrency import in_own_thread
from clipserve.errors import ImageNotFetched, Overloaded
from clipserve.fetching.hosts import Host, Target, target_of
from clipserve.fetching.response import NotAnImage, Response
from clipserve.quota import Quota
from clipserve.telemetry.log import logger
from clipserve.telemetry.request import remaining

if TYPE_CHECKING:
    from clipserve.telemetry.metrics import Metrics

AT_ONCE = 64  # images that are being fetched, or are here and not yet encoded
MAX_BYTES = 128_000_000  # of fetched images in memory
REDIRECTS = 3
FETCH_SECONDS = 5.0  # with its redirects
_PART = 1 / 3  # of the time to its deadline that a request waits: with a fetch of 5 s it ends in its 10 s
_READ_BYTES = 16_384  # which are parsed in two milliseconds at most
_MOVED = frozenset({301, 302, 303, 307, 308})
_TYPES = ("image/", "application/octet-stream", "binary/octet-stream")  # object stores send the last two
_HEADERS = "User-Agent: clipserve\r\nAccept: image/*\r\nAccept-Encoding: identity\r\n\r\n"


@dataclass
class _Slot:
    """A place for a fetched image. `until`: it is given back only when this is done too."""

    until: asyncio.Future[Any] | None = None


Resolve = Callable[[str, int], list[str]]  # (name, port) -> addresses
Reserve = Callable[[int], Awaitable[None]]  # waits for so many bytes


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name by the system's resolver. Raises OSError: there are none."""
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Fetcher:
    """Fetches images from listed hosts, without cookies, keys, proxies or persistent connections.

    One caller has at most half of its places and bytes, two have a third each, and they wait for them (`Quota`).
    The time of a fetch begins when it has a place, and stands still while it waits for bytes: a busy service must
    not look like a slow host.
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
        most = max(MAX_BYTES, 2 * max_bytes)
        self._slots = Quota("places for fetched images", AT_ONCE, adaptive=True)
        self._bytes = Quota("bytes for fetched images", most, adaptive=True)
        self._tls = ssl.create_default_context()

    @asynccontextmanager
    async def fetched(self, url: str, caller: str) -> AsyncIterator[bytes]:
        """The bytes of `url`, which are in memory during the block. `caller`: whose share they are of.

        Raises:
            ImageNotFetched: the host is not listed, resolves to a forbidden address, or does not return an image.
            Overloaded: other images took too much of the request's time.
        """
        await _waited(self._slots, caller, 1)
        slot, clock, kept = _Slot(), asyncio.timeout(self._seconds), 0

        async def reserve(size: int) -> None:
            nonlocal kept
            began = asyncio.get_running_loop().time()
            until = clock.when() or began
            clock.reschedule(None)
            await _waited(self._bytes, caller, size)
            kept = size
            clock.reschedule(until + asyncio.get_running_loop().time() - began)

        try:
            try:
                async with clock:
                    data = await self._followed(url, slot, reserve)
            # ValueError: a name that no DNS query can hold, or an invalid URL of a redirect.
            except (NotAnImage, OSError, ValueError) as error:
                raise self._failed(url, error) from None
            self._metrics.images_fetched("fetched").inc()
            yield data
        finally:
            self._bytes.give(caller, kept)
            if slot.until and not slot.until.done():
                slot.until.add_done_callback(lambda _: self._slots.give(caller))
            else:
                self._slots.give(caller)

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

    async def _followed(self, url: str, slot: _Slot, reserve: Reserve) -> bytes:
        for _ in range(1 + REDIRECTS):
            target = target_of(url)
            if target is None:
                raise NotAnImage("not a URL that is fetched from any host")
            address = await self._address(target, slot)
            async with self._asked(target, address) as (response, reader):
                while not response.status:
                    await _read(response, reader)
                if response.status not in _MOVED:
                    return await self._body(response, reader, reserve)
            if b"location" not in response.headers:
                raise NotAnImage("a redirect leads nowhere")
            url = urljoin(url, response.headers[b"location"])
        raise NotAnImage(f"more than {REDIRECTS} redirects")

    async def _address(self, target: Target, slot: _Slot) -> str:
        """One address of the name, if all its addresses are allowed."""
        host = next((host for host in self._hosts if host.matches(target)), None)
        if host is None:
            raise NotAnImage("the host is not listed in CLIPSERVE_IMAGE_HOSTS")
        # The system's resolver cannot be interrupted: a fetch whose time is over holds its slot as long as this.
        try:
            job = in_own_thread("resolve", self._resolve, target.host, target.port)
        except RuntimeError:
            raise Overloaded("no thread is left to resolve the name of a host.", retry_after=1) from None
        slot.until = asyncio.wrap_future(job)
        addresses: list[str] = await asyncio.shield(slot.until)
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


async def _waited(quota: Quota, caller: str, amount: int) -> None:
    """Take so much when it fits.

    Raises:
        Overloaded: waiting took a third of the time that was left to the request's deadline.
    """
    seconds = remaining(math.inf) * _PART
    try:
        async with asyncio.timeout(seconds if seconds < math.inf else None):
            await quota.wait(caller, amount)
    except TimeoutError:
        raise Overloaded(
            f"there were no {quota.what} for {seconds:.1f} s, a third of the time that this request had; other "
            "images have them. Try again later.",
            retry_after=1,
        ) from None
