"""A client that opens calls and never ends a message."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
import time
from collections.abc import Sequence

from tests.rpc.raw import DATA, END_HEADERS, HEADERS, RST_STREAM, WINDOW_UPDATE, Connection, fields_of

WINDOW = 65_535  # of a stream and of the connection, before the server gives more
_LEAST_SECONDS_OF_A_CALL = 1.0  # until a call in place of one that was ended: it holds, and is no flood


class Withholding:
    """Of each call it sends a message as fast as it may, but for the last byte; what is ended it opens again.

    An empty message is whole.
    """

    def __init__(self, connection: Connection, paths: Sequence[str], body: int, streams: int) -> None:
        """`paths`: of the calls, in turn. `body`: bytes of a message. `streams`: at a time."""
        self._connection = connection
        self._paths = itertools.cycle(paths)
        self._body = body
        self._streams = streams
        self._numbers = itertools.count(1, 2)
        self._credit = {0: WINDOW}
        self._left: dict[int, int] = {}
        self.sent = 0

    async def run(self, seconds: float) -> None:
        listening = asyncio.create_task(self._listen())
        try:
            await self._send_all(time.monotonic() + seconds, listening)
        finally:
            listening.cancel()

    async def _send_all(self, end: float, listening: asyncio.Task[None]) -> None:
        opening = 0.0
        while time.monotonic() < end and not listening.done():
            if time.monotonic() >= opening:
                opening = time.monotonic() + _LEAST_SECONDS_OF_A_CALL
                while len(self._left) < self._streams:
                    self._begin(next(self._numbers))
            sent = self.sent
            for stream in list(self._left):
                self._send(stream)
            with contextlib.suppress(ConnectionError):
                await self._connection.drain()
            await asyncio.sleep(0 if self.sent > sent else 0.01)

    def _begin(self, stream: int) -> None:
        self._connection.send(HEADERS, END_HEADERS, stream, fields_of(next(self._paths)))
        self._credit[stream] = self._credit.get(stream, 0) + WINDOW
        self._left[stream] = self._body
        self._put(stream, struct.pack(">BI", 0, self._body))

    def _send(self, stream: int) -> None:
        size = min(self._left[stream] - 1, self._credit[stream], self._credit[0], 16_384)
        if size > 0:
            self._left[stream] -= size
            self._put(stream, bytes(size))

    def _put(self, stream: int, data: bytes) -> None:
        self._connection.send(DATA, 0, stream, data)
        self._credit[stream] -= len(data)
        self._credit[0] -= len(data)
        self.sent += len(data)

    async def _listen(self) -> None:
        async for frame in self._connection.frames():
            if frame.kind == WINDOW_UPDATE:
                more = int.from_bytes(frame.payload, "big")
                self._credit[frame.stream] = self._credit.get(frame.stream, 0) + more
            elif frame.kind == RST_STREAM:
                self._left.pop(frame.stream, None)
