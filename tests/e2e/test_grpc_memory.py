"""Messages whose end never comes take the memory of the readings that may be, however many calls send them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.process import Fresh
from tests.rpc.raw import connected
from tests.rpc.withholding import WINDOW, Withholding

pytestmark = pytest.mark.slow

BODY, PLACES = 8_000_000, 3
CONNECTIONS, STREAMS = 4, 50
SECONDS, MOST_SECONDS = 6.0, 120.0  # a busy machine sends less in a second
SPARE = 150_000_000  # for what gRPC and the C library keep besides; 200 whole messages would be 1.6 GB


async def attack(address: str, paths: list[str], least: int) -> int:
    """Bytes that all could send, in some seconds, and until they are more than `least`."""
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(address)) for _ in range(CONNECTIONS)]
        clients = [Withholding(connection, paths, BODY, STREAMS) for connection in connections]
        running = [asyncio.create_task(client.run(MOST_SECONDS)) for client in clients]
        await asyncio.wait(running, timeout=SECONDS)
        while sum(client.sent for client in clients) <= least and not all(task.done() for task in running):
            await asyncio.sleep(0.1)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return sum(client.sent for client in clients)


@pytest.mark.parametrize(
    "paths",
    [
        ["/clipserve.v1.Clip/Embed"],
        [
            "/grpc.health.v1.Health/Check",
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        ],
    ],
    ids=["Clip", "health and reflection"],
)
def test_messages_that_are_withheld_take_the_memory_of_the_places_for_reading(paths: list[str]) -> None:
    process = Fresh(backend="onnx", max_body_bytes=BODY, max_in_flight_bytes=PLACES * BODY)
    process.wait_ready()
    before = process.resident() * 1024
    peak = 0

    async def watched() -> int:
        nonlocal peak
        attacking = asyncio.create_task(attack(process.rpc_address, paths, PLACES * BODY))
        while not attacking.done():
            peak = max(peak, process.resident() * 1024)
            await asyncio.sleep(0.1)
        return await attacking

    sent = asyncio.run(watched())
    assert peak - before < PLACES * BODY + CONNECTIONS * STREAMS * WINDOW + SPARE
    assert sent > PLACES * BODY, "places were free again"
    assert process.stop()[0] == 0
