"""A Redis, or a proxy in front of it, that closes idle connections."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from limits import RateLimitItemPerSecond

from clipserve.access.shared_rate_counter import shared_rate_counter
from clipserve.telemetry.metrics import Metrics
from tests.logs import logged

_CLOSE_WAIT = "08"  # as include/net/tcp_states.h has it


class ClosingRedis:
    """Answers each call of a script with `1`, and closes the connection after it."""

    def __init__(self) -> None:
        self.answered = 0
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while command := await self._command(reader):
            script = command[0].upper() in (b"EVAL", b"EVALSHA")
            writer.write(b":1\r\n" if script else b"+OK\r\n")
            await writer.drain()
            if script:
                self.answered += 1
                break
        writer.close()
        await writer.wait_closed()
        self.closed.set()

    @staticmethod
    async def _command(reader: asyncio.StreamReader) -> list[bytes]:
        parts = []
        if head := await reader.readline():
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                parts.append((await reader.readexactly(size + 2))[:-2])
        return parts


def client_knows(port: int) -> bool:
    """Whether the system has told the client of a connection to this port that the server has closed it."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(fields[2].endswith(f":{port:04X}") and fields[3] == _CLOSE_WAIT for fields in sockets)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_connection_that_redis_has_closed_is_replaced_before_it_is_used() -> None:
    redis, metrics = ClosingRedis(), Metrics()
    server = await asyncio.start_server(redis.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with logged() as log:
        async with server, shared_rate_counter(f"redis://127.0.0.1:{port}", metrics) as counter:
            for _ in range(3):
                redis.closed.clear()
                await counter.take(RateLimitItemPerSecond(1_000, 10), "camera", 1)
                assert log.events == []
                await redis.closed.wait()
                async with asyncio.timeout(60):
                    while not client_knows(port):
                        await asyncio.sleep(0.001)
                await asyncio.sleep(0)  # the event loop now tells the client's side
    assert redis.answered == 3
    assert metrics.registry.get_sample_value("clipserve_redis_failures_total") == 0
