"""Messages whose end never comes take the memory of the readings that may be, however many calls send them."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time

import pytest

from tests.process import Process
from tests.rpc.raw import DATA, RST_STREAM, WINDOW_UPDATE, Connection, connected

pytestmark = pytest.mark.slow

BODY, PLACES = 8_000_000, 3
CONNECTIONS, STREAMS = 4, 50
WINDOW = 65_535  # of a stream and of the connection, before the server gives more
SECONDS = 6.0
SPARE = 48_000_000  # for what gRPC and the C library keep besides; 200 whole messages would be 1.6 GB


class Withholding:
    """Sends a message on each of its streams, as fast as it may, but for the last byte."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._credit = {0: WINDOW}
        self._left: dict[int, int] = {}
        self.sent = 0

    async def run(self) -> None:
        listening = asyncio.create_task(self._listen())
        for number in range(STREAMS):
            self._begin(2 * number + 1)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for stream in list(self._left):
                self._send(stream)
            with contextlib.suppress(ConnectionError):
                await self._connection.drain()
            await asyncio.sleep(0)
        listening.cancel()

    def _begin(self, stream: int) -> None:
        self._connection.call(stream)
        self._credit[stream] = self._credit.get(stream, 0) + WINDOW
        self._left[stream] = BODY
        self._put(stream, struct.pack(">BI", 0, BODY))

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


async def attack(address: str) -> int:
    """Bytes that all could send."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            Withholding(await stack.enter_async_context(connected(address))) for _ in range(CONNECTIONS)
        ]
        await asyncio.gather(*(client.run() for client in clients))
        return sum(client.sent for client in clients)


def test_messages_that_are_withheld_take_the_memory_of_the_places_for_readings() -> None:
    process = Process(backend="onnx", max_body_bytes=BODY, max_in_flight_bytes=PLACES * BODY)
    process.wait_ready()
    before = process.resident() * 1024
    peak = 0

    async def watched() -> int:
        nonlocal peak
        attacking = asyncio.create_task(attack(process.rpc_address))
        while not attacking.done():
            peak = max(peak, process.resident() * 1024)
            await asyncio.sleep(0.1)
        return await attacking

    sent = asyncio.run(watched())
    assert peak - before < PLACES * BODY + CONNECTIONS * STREAMS * WINDOW + SPARE
    assert sent > PLACES * BODY, "places were free again"
    assert process.stop()[0] == 0
