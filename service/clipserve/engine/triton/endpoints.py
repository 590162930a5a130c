"""All Triton servers of an artifact: found by their names, and chosen for each call.

A name is looked up again every few seconds, and each of its addresses is a server with its own channel: gRPC
itself would stay on one of them, or send calls to one that is leaving. When one of a name's present servers is
ready, servers that the name has lost get no new calls, and are closed when their last call is answered. While the
look-up fails, the known servers stay.

A call goes to the ready server with the fewest unanswered rows, among equals to the one chosen longest ago.
If none is ready, a call goes to a server that does not respond, or has just failed and is on trial: on few cores a
busy server answers its watch slowly, and refusing calls would turn load into an outage. A server that has failed
its trial gets none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

from clipserve.concurrency import kept_running
from clipserve.engine.triton.address import Address
from clipserve.engine.triton.contract import Tower
from clipserve.engine.triton.endpoint import Endpoint
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger

LookUp = Callable[[Address], Awaitable[list[str]]]

_START_SECONDS = 0.05  # between two looks at whether one has become ready


class Endpoints:
    """The servers that are known now."""

    def __init__(
        self,
        addresses: Sequence[Address],
        open_endpoint: Callable[[str, Address], Endpoint],
        look_up: LookUp,
        look_up_seconds: float,
    ) -> None:
        """`open_endpoint` connects to one of the servers behind an address; it may raise OSError."""
        self._addresses = addresses
        self._open_endpoint = open_endpoint
        self._look_up = look_up
        self._look_up_seconds = look_up_seconds
        self._found: dict[Address, list[str]] = {}
        self._failed: set[Address] = set()  # at the last look-up
        self._endpoints: dict[str, Endpoint] = {}  # by server
        self._following: asyncio.Task[None] | None = None
        self._turn = 0

    @property
    def ready(self) -> bool:
        """Whether at least one server can serve the artifact now."""
        return any(endpoint.watch.ready for endpoint in self._endpoints.values())

    async def start(self) -> None:
        """Find the servers, and keep looking their names up. Returns when one server is ready.

        Raises:
            BackendUnavailable: all servers have another artifact.
        """
        self._following = kept_running("triton_names", self._follow)
        while not self.ready:
            watches = [endpoint.watch for endpoint in self._endpoints.values()]
            refused = [watch.refused for watch in watches if watch.refused]
            if refused and len(refused) == len(watches) and len(self._found) == len({*self._addresses}):
                raise BackendUnavailable(refused[0])
            await asyncio.sleep(_START_SECONDS)

    def calls(self, tower: Tower) -> int:
        """Calls at a time that keep all servers busy; 0: no server is known."""
        return sum([endpoint.watch.calls(tower) for endpoint in self._endpoints.values()])

    def max_batch(self, tower: Tower) -> int:
        """The most rows that every server takes in one call; 0: no server is known."""
        limits = [endpoint.watch.max_rows(tower) for endpoint in self._endpoints.values()]
        return min(filter(None, limits), default=0)

    def choose(self, tower: Tower, rows: int, but: Collection[Endpoint] = ()) -> Endpoint | None:
        """The server for a call of so many rows; None: there is none except `but`."""
        fit = (
            each
            for each in self._endpoints.values()
            if each not in but and not each.leaving and each.watch.max_rows(tower) >= rows
        )
        chosen = min(fit, key=lambda each: (not each.watch.trusted, each.rows, each.turn), default=None)
        if chosen is not None:
            self._turn += 1
            chosen.turn = self._turn
        return chosen

    async def aclose(self) -> None:
        """Close all connections."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        closing, self._endpoints = self._endpoints, {}
        for endpoint in closing.values():
            await endpoint.aclose()

    async def _follow(self) -> None:
        while True:
            await asyncio.gather(*(self._find(address) for address in self._addresses))
            await self._come_and_go()
            await asyncio.sleep(self._look_up_seconds)

    async def _find(self, address: Address) -> None:
        """Look a name up; log what has changed."""
        try:
            found = await self._look_up(address)
        except (OSError, UnicodeError) as error:
            if address not in self._failed:
                reason = getattr(error, "strerror", None) or "it is no name"
                logger.warning("triton_name", name=address.host, reason=f"it cannot be looked up: {reason}")
            self._failed.add(address)
            return
        self._failed.discard(address)
        if address.is_name and found != self._found.get(address):
            logger.info("triton_name", name=address.host, endpoints=found)
        self._found[address] = found

    async def _come_and_go(self) -> None:
        """Open the servers that are new; let go of those that no name stands for."""
        named = {server: address for address, found in self._found.items() for server in found}
        for server in named.keys() - self._endpoints.keys():
            self._open(server, named[server])
        ready = any(self._endpoints[each].watch.ready for each in named if each in self._endpoints)
        for server, endpoint in list(self._endpoints.items()):
            endpoint.leaving = ready and server not in named
            if endpoint.leaving and not endpoint.rows:
                del self._endpoints[server]
                await endpoint.aclose()

    def _open(self, server: str, address: Address) -> None:
        try:
            endpoint = self._open_endpoint(server, address)
        except OSError as error:  # tried again at the next look-up
            logger.error("triton_certificates", endpoint=server, reason=error.strerror)
            return
        self._endpoints[server] = endpoint
        endpoint.start(partial(self._lost, endpoint))

    def _lost(self, endpoint: Endpoint) -> None:
        """Move what it owes, if there is a server that is ready."""
        if any(each.watch.trusted and not each.leaving for each in self._endpoints.values()):
            endpoint.move_calls()
