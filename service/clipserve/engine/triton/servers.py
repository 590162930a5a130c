"""All Triton servers of an artifact: found by their names, and chosen for each call.

A name is looked up again every few seconds, and each of its addresses is a server with its own channel: gRPC
itself would stay on one of them. When one of a name's present servers is ready, servers that the name has lost get
no new calls, and are closed when their last call is answered. While the look-up fails, the known servers stay.

A call goes to the server in use with the fewest unanswered rows, among equals in turn. If all are set aside, it
goes to the one that has been for the longest: to refuse all calls would turn load into an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

from clipserve.concurrency import ended, kept_running
from clipserve.engine.triton.address import Address
from clipserve.engine.triton.contract import Tower
from clipserve.engine.triton.server import Server
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger

LookUp = Callable[[Address], Awaitable[list[str]]]

_START_SECONDS = 0.05  # between two looks at whether one has become ready


class Servers:
    """The servers that are known now."""

    def __init__(
        self,
        addresses: Sequence[Address],
        connect: Callable[[str, Address], Server],
        look_up: LookUp,
        look_up_seconds: float,
    ) -> None:
        """`connect`: to one of the servers behind an address."""
        self._addresses, self._connect = addresses, connect
        self._look_up, self._look_up_seconds = look_up, look_up_seconds
        self._found: dict[Address, list[str]] = {}
        self._said: dict[Address, object] = {}  # by the log, of each name
        self._servers: dict[str, Server] = {}  # by IP address and port
        self._following: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether at least one server can serve the artifact now."""
        return any(server.ready for server in self._servers.values())

    async def start(self) -> None:
        """Find the servers, and keep looking their names up. Returns when one server is ready.

        Raises:
            BackendUnavailable: all servers have another artifact.
        """
        self._following = kept_running("triton_names", self._follow)
        while not self.ready:
            refused = [server.refused for server in self._servers.values() if server.refused]
            known = len(self._found) == len({*self._addresses})
            if refused and known and len(refused) == len(self._servers):
                raise BackendUnavailable(refused[0])
            await asyncio.sleep(_START_SECONDS)

    def calls(self, tower: Tower) -> int:
        """Calls at a time that keep all servers busy; 0: no server is known."""
        return sum(each.served[tower].calls for each in self._servers.values() if each.served)

    def max_batch(self, tower: Tower) -> int:
        """The most rows that every server takes in one call; 0: no server is known."""
        return min(filter(None, [server.max_rows(tower) for server in self._servers.values()]), default=0)

    def choose(self, tower: Tower, rows: int, but: Collection[Server] = ()) -> Server | None:
        """The server for a call of so many rows; None: there is none except `but`."""
        fit = {
            url: each
            for url, each in self._servers.items()
            if each not in but and not each.leaving and each.max_rows(tower) >= rows
        }
        used = [url for url, each in fit.items() if each.in_use]
        aside = min(fit, key=lambda url: fit[url].aside_since, default=None)
        if (url := min(used, key=lambda url: fit[url].rows, default=aside)) is None:
            return None
        self._servers[url] = chosen = self._servers.pop(url)  # the last among equals
        return chosen

    async def aclose(self) -> None:
        """Close all connections."""
        if self._following is not None:
            await ended([self._following])
        closing, self._servers = self._servers, {}
        for server in closing.values():
            await server.aclose()

    async def _follow(self) -> None:
        while True:
            await asyncio.gather(*(self._find(address) for address in self._addresses))
            await self._come_and_go()
            await asyncio.sleep(self._look_up_seconds)

    async def _find(self, address: Address) -> None:
        """Look a name up; log what has changed."""
        try:
            found = self._found[address] = await self._look_up(address)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no name"
            if self._said.get(address) != reason:
                logger.warning("triton_name", name=address.host, reason=f"it cannot be looked up: {reason}")
            self._said[address] = reason
            return
        if address.is_name and found != self._said.get(address):
            logger.info("triton_name", name=address.host, endpoints=found)
        self._said[address] = found

    async def _come_and_go(self) -> None:
        """Connect to the servers that are new; let go of those that no name stands for."""
        named = {server: address for address, found in self._found.items() for server in found}
        for url in named.keys() - self._servers.keys():
            self._servers[url] = server = self._connect(url, named[url])
            server.start()
        ready = any(self._servers[each].ready for each in named if each in self._servers)
        for url, server in list(self._servers.items()):
            server.leaving = ready and url not in named
            if server.leaving and not server.rows:
                del self._servers[url]
                await server.aclose()
