"""Fetches a URL with limits of time, size, type and redirects, from checked addresses.

A name cannot lead into the internal network: it is resolved once, each of its addresses is checked, and aiohttp
gets one of them in place of the name. TLS verifies the certificate for the name. A redirect is treated like the
first URL. Every failure gives the caller the same sentence, so that nobody can find out what answers inside a
network; the reason is in the log.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from clipserve.concurrency import in_own_thread
from clipserve.errors import ImageNotFetched, Overloaded
from clipserve.fetching import FETCH_SECONDS
from clipserve.fetching.hosts import Host, Target, target_of
from clipserve.quota import Quota
from clipserve.telemetry.log import logger
from clipserve.telemetry.request import remaining

if TYPE_CHECKING:
    from clipserve.telemetry.metrics import Metrics

AT_ONCE = 64  # images that are being fetched, or are here and not yet encoded
MAX_BYTES = 128_000_000  # of fetched images in memory
REDIRECTS = 3
_PART = 1 / 3  # of the time to its deadline that a request waits: with a fetch of 5 s it ends in its 10 s
_MOVED = frozenset({301, 302, 303, 307, 308})
_TYPES = ("image/", "application/octet-stream", "binary/octet-stream")  # object stores send the last two
_PIECE = 16_384  # bytes that are parsed at a time
_MOST_HEADS = 20  # of one answer: those before the last are informational
_MOST_CHUNKS, _CHUNK_BYTES = 4_096, 16  # so many, and one more for each so many bytes: each costs a call
_HEADERS = {"User-Agent": "clipserve", "Accept": "image/*", "Accept-Encoding": "identity"}

Resolve = Callable[[str, int], list[str]]  # (name, port) -> addresses


class _NotAnImage(Exception):
    """An image is not fetched; the message is for the log."""


class _FewHeads(ResponseHandler):
    """A connection that ends at too many heads (103 Early Hints): aiohttp parses as many as come.

    It gets a read of 256 KB in pieces: one of heads or small chunks alone would hold the event loop up for 0.2 s.
    """

    _heads = 0

    def data_received(self, data: bytes) -> None:
        for start in range(0, max(1, len(data)), _PIECE):
            super().data_received(data[start : start + _PIECE])
            if self.transport is None or self.transport.is_closing():
                return

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Called for each head."""
        self._heads += 1
        if self._heads <= _MOST_HEADS:
            super().feed_data(data, size)
        elif self.transport:
            self.transport.abort()


@dataclass
class _Fetch:
    """One fetch. `size`: the bytes that it has of the quota. `resolving`: its place is held until this ends too."""

    caller: str
    clock: asyncio.Timeout
    size: int = 0
    resolving: asyncio.Future[list[str]] | None = None


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
        self._hosts, self._max_bytes, self._metrics = hosts, max_bytes, metrics
        self._seconds, self._resolve = seconds, resolve
        self._places = Quota("places for fetched images", AT_ONCE, adaptive=True)
        self._bytes = Quota("bytes for fetched images", max(MAX_BYTES, 2 * max_bytes), adaptive=True)
        self._tls = ssl.create_default_context()

    @asynccontextmanager
    async def fetched(self, url: str, caller: str) -> AsyncIterator[bytes]:
        """The bytes of `url`, which are in memory during the block. `caller`: whose share they are of.

        Raises:
            ImageNotFetched: the host is not listed, resolves to a forbidden address, or does not return an image.
            Overloaded: other images took too much of the request's time.
        """
        await _waited(self._places, caller, 1)
        fetch = _Fetch(caller, asyncio.timeout(self._seconds))
        try:
            try:
                async with fetch.clock:
                    data = await self._followed(url, fetch)
            # ValueError: a name that no DNS query can hold, or an invalid URL of a redirect.
            except (_NotAnImage, ClientError, OSError, ValueError) as error:
                raise self._failed(url, error) from None
            self._metrics.images_fetched("fetched").inc()
            yield data
        finally:
            self._bytes.give(caller, fetch.size)
            if fetch.resolving and not fetch.resolving.done():
                fetch.resolving.add_done_callback(lambda _: self._places.give(caller))
            else:
                self._places.give(caller)

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

    async def _followed(self, url: str, fetch: _Fetch) -> bytes:
        for _ in range(1 + REDIRECTS):
            target = target_of(url)
            if target is None:
                raise _NotAnImage("not a URL that is fetched from any host")
            place = URL(target.at(await self._address(target, fetch)), encoded=True)
            async with (
                self._session(target) as session,
                session.get(place, allow_redirects=False, server_hostname=target.host) as answer,
            ):
                if answer.status not in _MOVED:
                    return await self._body(answer, fetch)
                if "location" not in answer.headers:
                    raise _NotAnImage("a redirect leads nowhere")
                url = urljoin(url, answer.headers["location"])
        raise _NotAnImage(f"more than {REDIRECTS} redirects")

    async def _address(self, target: Target, fetch: _Fetch) -> str:
        """One address of the name, if all its addresses are allowed."""
        host = next((host for host in self._hosts if host.matches(target)), None)
        if host is None:
            raise _NotAnImage("the host is not listed in CLIPSERVE_IMAGE_HOSTS")
        job = in_own_thread("resolve", self._resolve, target.host, target.port)
        # The system's resolver cannot be interrupted: a fetch whose time is over holds its place as long as this.
        fetch.resolving = asyncio.wrap_future(job)
        addresses = await asyncio.shield(fetch.resolving)
        if not addresses:
            raise _NotAnImage("the host has no address")
        for address in addresses:
            if not host.admits(ip_address(address)):
                raise _NotAnImage(f"the host has the address {address}, which is not allowed")
        return addresses[0]

    def _session(self, target: Target) -> ClientSession:
        """For one request."""
        connector = TCPConnector(ssl=self._tls, force_close=True)
        connector._factory = partial(_FewHeads, asyncio.get_running_loop())  # type: ignore[assignment]
        return ClientSession(
            connector=connector,
            headers=_HEADERS | {"Host": target.authority},
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(),  # a fetch has one for all its answers
            auto_decompress=False,
        )

    async def _body(self, answer: ClientResponse, fetch: _Fetch) -> bytes:
        if answer.status != 200:
            raise _NotAnImage(f"the status is {answer.status}")
        if not answer.headers.get("content-type", "").lower().startswith(_TYPES):
            raise _NotAnImage("the Content-Type is not that of an image")
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise _NotAnImage("the body is compressed")
        announced = self._max_bytes if answer.content_length is None else answer.content_length
        self._check_size(announced)
        await self._reserve(announced, fetch)
        pieces, size = [], 0
        async for piece, _ in answer.content.iter_chunks():
            pieces.append(piece)
            size += len(piece)
            self._check_size(size)
            if len(pieces) > _MOST_CHUNKS + size // _CHUNK_BYTES:
                raise _NotAnImage("the body comes in chunks of a few bytes")
        return b"".join(pieces)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise _NotAnImage(f"the image has more than {self._max_bytes:,} bytes")

    async def _reserve(self, size: int, fetch: _Fetch) -> None:
        """Wait for so many bytes, which is not the host's time."""
        now = asyncio.get_running_loop().time
        left = (fetch.clock.when() or now()) - now()
        fetch.clock.reschedule(None)
        await _waited(self._bytes, fetch.caller, size)
        fetch.size = size
        fetch.clock.reschedule(now() + left)


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
