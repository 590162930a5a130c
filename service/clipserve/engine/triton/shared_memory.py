"""Shared memory for the pixels of a call, where a Triton server runs on this machine and shares `/dev/shm`.

Over gRPC the pixels of a call are copied into a message, through the kernel, and out of a message. Here they are
copied once, row by row into a region that Triton has mapped, and the message only names the region.

Triton maps a region (`region`) when it is registered. To register fails where Triton runs elsewhere, runs as
another user, or forbids it: then calls carry their pixels as bytes.

A region is free again when its call ends, also without an answer: Triton only reads it, and if it still does so for
a call that was cancelled, nobody reads that answer.

A gateway that is killed cannot unregister its regions, and Triton would keep their memory. Another gateway does so.

Where Triton does not answer to a registration, it may have mapped the region all the same. Such a region counts as
one of its own, and is unregistered before the next is registered. So a region is remembered before Triton is asked.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Sequence

import grpc

from clipserve.concurrency import DaemonExecutor
from clipserve.engine.triton.connection import Channel
from clipserve.engine.triton.message import Rows
from clipserve.engine.triton.region import Owner, Region, remove_files_of_killed, shortage, without_owner
from clipserve.telemetry.log import logger

_AT_ONCE = 1 << 20  # bytes that are copied on the event loop; more would hold it up for 0.1 ms and longer
_AGAIN_SECONDS = 60.0  # until registering is tried again
_IN_USE_SECONDS = 0.01  # between two tries to unregister what is still read
# Errors of gRPC that leave open whether the server has done what it was asked for.
_UNANSWERED = frozenset(
    (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
)
# In Triton's answer where --grpc-restricted-protocol closes shared memory: UNAVAILABLE all the same.
_RESTRICTED = "protocol is restricted"
# In the answer of a Triton before 24.12 where a call still reads the region; a later one unregisters it afterwards.
_IN_USE = "currently in use"


class SharedMemory:
    """The regions of one server."""

    def __init__(
        self,
        server: str,
        connection: Channel,
        *,
        seconds: float,
        again_seconds: float = _AGAIN_SECONDS,
    ) -> None:
        """`seconds`: for an answer about regions. `again_seconds`: until registering is tried again."""
        self._server = server
        self._connection = connection
        self._seconds, self._again_seconds = seconds, again_seconds
        self._owner: Owner | None = None
        self._regions: set[Region] = set()  # those that the server has mapped
        self._free: list[Region] = []
        self._registering: dict[str, int] = {}  # name -> bytes
        self._unanswered: dict[str, int] = {}  # regions that it may have mapped: name -> bytes
        self._cleaned = False  # whether it has nothing mapped any more of gateways that were killed
        self._left: list[str] = []  # regions of theirs that it would not let go of
        self._numbered = 0
        self._writer: DaemonExecutor | None = None
        self._off_until = 0.0
        self.reason = ""  # why there are no more, logged when it changes
        self.full = False  # whether the last region did not fit into the folder

    @property
    def size(self) -> int:
        """Bytes of all regions; 0: calls carry their pixels as bytes. Read in another thread: hence the copy."""
        return sum(region.size for region in list(self._regions)) + sum(list(self._unanswered.values()))

    async def lend(self, pixels: Rows, most_rows: int, calls: int) -> Region | None:
        """A region that holds the pixels, until it is given back; None: there is none, or it is not possible here.

        `pixels`: uint8, N rows [S, S, 3]. `most_rows`: of a call. `calls`: at a time, so many regions are made.
        """
        row_bytes = pixels[0].nbytes
        if not self._free:
            await self._add(row_bytes * most_rows, calls)
        size = row_bytes * len(pixels)
        if not self._free:
            return None
        if self._free[-1].size < size:  # the server has come back with a larger limit
            self._log("a call has more rows than its regions hold")
            return None
        region = self._free.pop()
        if size < _AT_ONCE:
            region.copy(pixels)
            return region
        if self._writer is None:
            self._writer = DaemonExecutor(1, "triton_pixels")
        writing = asyncio.wrap_future(self._writer.submit(region.write, pixels))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:  # the thread still writes
            writing.add_done_callback(lambda _: self.give_back(region))
            raise
        return region

    def give_back(self, region: Region) -> None:
        """Its call has ended."""
        if region in self._regions:
            self._free.append(region)

    def forget(self, region: Region, reason: str) -> None:
        """The server does not know this region, which it had mapped: it has restarted, and knows none of then."""
        if region in self._regions:
            self._regions, self._free = set(), []
            self._log(reason)

    async def aclose(self) -> None:
        """Unregister all, if the server still answers."""
        self._off_until = float("inf")
        if self._writer:
            self._writer.shutdown()
        names = [region.name for region in self._regions] + [
            *self._unanswered,
            *self._registering,
            *self._left,
        ]
        self._regions, self._free, self._unanswered = set(), [], {}
        if self._owner:
            # What is being registered may come after that. Then the next gateway unregisters it.
            end = time.monotonic() + self._seconds
            while (names := await self._unregister(names)) and time.monotonic() < end:
                await asyncio.sleep(_IN_USE_SECONDS)
            self._owner.close()

    async def _add(self, size: int, calls: int) -> None:
        """Make a region and have it mapped; or else do not try again for a while."""
        if time.monotonic() < self._off_until:
            return
        try:
            await self._settle()
            if len(self._regions) + len(self._unanswered) + len(self._registering) >= calls:
                self._log("there are more calls at a time than regions")
                return
            region = await self._registered(size)
        except (OSError, grpc.aio.AioRpcError) as error:
            self._off_until = time.monotonic() + self._again_seconds
            self.full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            reason = error.details() if isinstance(error, grpc.aio.AioRpcError) else error
            self._log(shortage(calls * size) if self.full else str(reason))
        else:
            self._regions.add(region)
            self._free.append(region)
            self._log(shortage((calls - len(self._regions)) * size))

    def _log(self, reason: str) -> None:
        """Log how many regions there are, and why there are or will be no more; the same reason once."""
        if not reason or reason != self.reason:
            log = logger.warning if reason else logger.info
            log("triton_shared_memory", endpoint=self._server, regions=len(self._regions), reason=reason)
        self.reason = reason

    async def _settle(self) -> None:
        """Unregister the regions that the server may have mapped. Raises OSError: it does not answer to that."""
        if self._unanswered:
            await self._unregister([*self._unanswered])
        if self._unanswered:
            raise OSError(f"it may have mapped {len(self._unanswered)} regions, and does not unregister them")

    async def _registered(self, size: int) -> Region:
        self._owner = self._owner or Owner()
        self._numbered += 1
        name = f"{self._owner.name}.{self._numbered}"
        self._registering[name] = size
        try:
            if not self._cleaned:
                await self._clean_up()
            region = Region(name, size)
            try:
                await self._register(region)
            finally:
                region.remove_file()
            return region
        finally:
            del self._registering[name]

    async def _register(self, region: Region) -> None:
        answered = False
        try:
            await self._connection.ask(
                "SystemSharedMemoryRegister",
                region.name,
                self._seconds,
                key=f"/{region.name}",
                byte_size=region.size,
            )
            answered = True
        except grpc.aio.AioRpcError as error:
            answered = error.code() not in _UNANSWERED or _RESTRICTED in (error.details() or "")
            raise
        finally:
            if not answered:  # also if the call that needs it is cancelled
                self._unanswered[region.name] = region.size

    async def _clean_up(self) -> None:
        """Unregister what gateways left that were killed. Until there is nothing, each registration looks again."""
        self._cleaned, done = True, False  # others that come meanwhile need not wait for it
        try:
            remove_files_of_killed()
            known = await self._connection.ask("SystemSharedMemoryStatus", "", self._seconds)
            found = without_owner(known.regions)
            self._left = await self._unregister(found)
            done = not found
        finally:
            self._cleaned = done

    async def _unregister(self, names: Sequence[str]) -> list[str]:
        """Return those that the server still reads, for a call that was cancelled or answered a moment ago.

        They cannot go yet. Nothing is raised where the server does not answer, or shares nothing any more.
        """
        outcomes = await asyncio.gather(
            *(self._connection.ask("SystemSharedMemoryUnregister", name, self._seconds) for name in names),
            return_exceptions=True,
        )
        read = []
        for name, outcome in zip(names, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                self._unanswered.pop(name, None)
            elif isinstance(outcome, grpc.aio.AioRpcError) and _IN_USE in (outcome.details() or ""):
                read.append(name)
        return read
