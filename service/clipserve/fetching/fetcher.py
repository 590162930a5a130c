"""Fetches a URL with limits of time, size, type and redirects, from checked addresses.

A name cannot lead into the internal network: the address of each connection is checked where its socket is made,
whatever the name was resolved to. A redirect is treated like the first URL. Every failure gives the caller the same
sentence, so that nobody can find out what answers inside a network; the reason is in the log.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from urllib.parse import urljoin

from clipserve.concurrency import in_own_thread
from clipserve.errors import ImageNotFetched
from clipserve.fetching import FETCH_SECONDS
from clipserve.fetching.answer import Answer, NotAnImage, answer_of
from clipserve.fetching.hosts import Host, Target, target_of
from clipserve.quota import Lease, Quota
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

AT_ONCE = 64  # images that are being fetched, or are here and not yet encoded
MAX_BYTES = 128_000_000  # of fetched images in memory
REDIRECTS = 3
_MOVED = frozenset({301, 302, 303, 307, 308})
_TYPES = ("image/", "application/octet-stream", "binary/octet-stream")  # object stores send the last two

Resolve = Callable[[str, int], list[str]]  # (name, port) -> addresses


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name by the system's resolver. Raises OSError: there are none."""
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Fetcher:
    """Fetches images from listed hosts, without cookies, keys, proxies or persistent connections.

    One caller has at most half of its places and bytes, and waits for them (`Quota`).
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
        self._places = Quota("places for fetched images", AT_ONCE, AT_ONCE // 2)
        most = max(MAX_BYTES // 2, max_bytes)
        self._bytes = Quota("bytes for fetched images", 2 * most, most)
        self._tls = ssl.create_default_context()

    @asynccontextmanager
    async def fetched(self, url: str, caller: str) -> AsyncIterator[bytes]:
        """The bytes of `url`, which are in memory during the block. `caller`: whose share they are of.

        Raises:
            ImageNotFetched: the host is not listed, has a forbidden address, or does not return an image.
        """
        with self._places.lease(caller) as place, self._bytes.lease(caller) as room:
            await place.wait(1)
            try:
                async with asyncio.timeout(self._seconds) as clock:
                    data = await self._followed(url, room, clock)
            # ValueError: a name that no DNS query can hold, or an invalid URL of a redirect.
            except (NotAnImage, OSError, ValueError) as error:
                raise self._failed(url, error) from None
            self._metrics.images_fetched("fetched").inc()
            yield data

    def _failed(self, url: str, error: Exception) -> ImageNotFetched:
        self._metrics.images_fetched("failed").inc()
        host = getattr(target_of(url), "host", None)  # path and query may hold secrets
        logger.warning("image_not_fetched", host=host, reason=str(error)[:200] or type(error).__name__)
        return ImageNotFetched(
            "the image could not be fetched from its URL. The host must be one that this service fetches from "
            f"(CLIPSERVE_IMAGE_HOSTS), and answer with an image of at most {self._max_bytes:,} bytes within "
            f"{self._seconds:g} s. The log of the service has the reason."
        )

    async def _followed(self, url: str, room: Lease, clock: asyncio.Timeout) -> bytes:
        for _ in range(1 + REDIRECTS):
            if (target := target_of(url)) is None:
                raise NotAnImage("not a URL that is fetched from any host")
            if (listed := next((host for host in self._hosts if host.matches(target)), None)) is None:
                raise NotAnImage("the host is not listed in CLIPSERVE_IMAGE_HOSTS")
            addresses = await self._addresses(target, listed)
            async with answer_of(target, addresses, self._tls, self._seconds / 2) as answer:
                if answer.status not in _MOVED:
                    return await self._body(answer, room, clock)
                url = urljoin(url, answer.headers.get("location", ""))
        raise NotAnImage(f"more than {REDIRECTS} redirects")

    async def _addresses(self, target: Target, listed: Host) -> list[str]:
        """Those that the host may have. The system's resolver cannot be interrupted: it has a thread of its own."""
        found = await asyncio.wrap_future(in_own_thread("resolve", self._resolve, target.host, target.port))
        admitted = [address for address in found if listed.admits(ip_address(address))]
        if found and not admitted:
            raise NotAnImage(f"the host has the address {found[0]}, which is not allowed")
        return admitted

    async def _body(self, answer: Answer, room: Lease, clock: asyncio.Timeout) -> bytes:
        if answer.status != 200:
            raise NotAnImage(f"the status is {answer.status}")
        if not answer.headers.get("content-type", "").lower().startswith(_TYPES):
            raise NotAnImage("the Content-Type is not that of an image")
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise NotAnImage("the body is compressed")
        announced = int(answer.headers.get("content-length", self._max_bytes))  # the parser has seen to it
        too_large = f"the image has more than {self._max_bytes:,} bytes"
        if announced > self._max_bytes:
            raise NotAnImage(too_large)
        now, end = asyncio.get_running_loop().time, clock.when() or math.inf
        began = now()
        clock.reschedule(None)  # to wait for memory is not the host's time
        await room.wait(announced)
        clock.reschedule(end + now() - began)
        while await answer.read():
            if len(answer.body) > self._max_bytes:
                raise NotAnImage(too_large)
        return bytes(answer.body)
