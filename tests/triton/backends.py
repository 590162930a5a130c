"""A backend on servers that stand in for Triton."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import numpy as np

from clipserve.engine.backend import Backend as Serving
from clipserve.engine.triton.address import look_up
from clipserve.engine.triton.client import TritonBackend
from clipserve.engine.triton.connection import TritonOptions
from clipserve.engine.triton.servers import LookUp
from clipserve.telemetry.metrics import Metrics
from tests.support.constants import with_constants
from tests.support.waiting import until
from tests.triton.stand_in import MANIFEST, StandIn

STOPPING = (
    grpc.StatusCode.UNAVAILABLE,
    "Server is stopping, scheduler for model has stopped accepting new inference requests",
)


class Backend(TritonBackend):
    """A backend whose metrics can be read. It takes no server for silent, unless a test asks for it."""

    def __init__(self, urls: Sequence[str], look_up: LookUp, **options: float) -> None:
        self.counted = Metrics()
        patient = TritonOptions(urls, look_up_seconds=0.05, silent_seconds=60, ask_seconds=0.05)
        super().__init__(MANIFEST, with_constants(patient, options), self.counted, look_up)

    def up(self, server: str) -> float | None:
        labels = {"endpoint": server, "model": MANIFEST.name}
        return self.counted.registry.get_sample_value("clipserve_triton_endpoint_up", labels)

    def retries(self, reason: str) -> float:
        value = self.counted.registry.get_sample_value
        return value("clipserve_triton_retries_total", {"reason": reason}) or 0

    async def server_of(self, rows: int = 1) -> float:
        """Which server has answered a call of so many texts: its value, which is the same in all their vectors."""
        ids, lengths = np.ones((rows, 8), np.int32), np.ones(rows, np.int32)
        vectors = await self.encode_text(ids, lengths)
        assert vectors.shape == (rows, MANIFEST.embed_dim)
        (value,) = set(vectors.ravel().tolist())
        return float(value)


@asynccontextmanager
async def backend_on(
    *servers: StandIn, urls: Sequence[str] = (), look_up: LookUp = look_up, **options: float
) -> AsyncIterator[Backend]:
    """Started, and every server was found ready. `options`: of `TritonOptions`."""
    backend = Backend(urls or [server.url for server in servers], look_up, **options)
    try:
        async with asyncio.timeout(120):
            await backend.start()
            await until(lambda: all(backend.up(server.url) for server in servers))
            yield backend
    finally:
        await backend.aclose()


async def not_ready(backend: Serving) -> bool:
    return not await backend.ready()


async def sent(server: StandIn, calls: int) -> None:
    await until(lambda: len(server.calls) >= calls)
