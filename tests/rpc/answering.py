"""The exchange alone, in front of work that a test gives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from clipserve.access.gate import Gate
from clipserve.application.body import Body
from clipserve.quota import Quota
from clipserve.rpc.call import Work
from clipserve.rpc.dropping import know_tasks
from clipserve.rpc.exchange import RpcExchange
from clipserve.rpc.options import CallLimits
from clipserve.rpc.reading import ReadLimits, ReadSlots
from clipserve.rpc.server import SERVICE
from clipserve.telemetry.metrics import Metrics
from tests.rpc.client import Client, Refused, refused

LIMITS = {"grpc_max_calls": 100, "deadline_seconds": 20.0, "body_timeout_seconds": 20.0}


class Answering:
    """The exchange alone, in front of one method, `Embed`, and on a port."""

    def __init__(self, work: Work, gate: Gate | None = None, **limits: Any) -> None:
        self.metrics = Metrics()
        limits = {**LIMITS, **limits}
        budget_bytes = limits.pop("budget_bytes", 10_000_000)
        self.budget = Quota("bytes", budget_bytes, budget_bytes)
        slots = ReadSlots(ReadLimits(4, limits.pop("read_seconds", 20.0)))
        self.exchange = RpcExchange(gate or Gate(), slots, self.budget, CallLimits(**limits), self.metrics)
        self.server = grpc.aio.server()
        handlers = {"Embed": self.exchange.unary("Embed", work)}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def counted(self) -> dict[str, float]:
        """Calls by outcome."""
        families = self.metrics.registry.collect()
        samples = [each for family in families for each in family.samples]
        return {
            each.labels["outcome"]: each.value for each in samples if each.name == "clipserve_requests_total"
        }


@asynccontextmanager
async def answering(work: Work, gate: Gate | None = None, **limits: Any) -> AsyncIterator[Answering]:
    know_tasks(asyncio.get_running_loop())
    running = Answering(work, gate, **limits)
    await running.server.start()
    try:
        yield running
    finally:
        await running.server.stop(None)


async def echo(body: Body) -> bytes:
    return body.take()


class Hanging:
    """Work that does not end by itself."""

    def __init__(self) -> None:
        self.begun, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, body: Body) -> bytes:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return b""


def raw(client: Client, **options: Any) -> Any:
    """Embed, of bytes; a stream, whose client says itself when it ends."""
    return client.channel.stream_unary(f"/{SERVICE}/Embed")(**options)


async def status_of(call: Any) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refused(caught.value)
