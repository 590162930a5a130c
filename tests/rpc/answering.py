"""The exchange alone, in front of work that a test gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from clipserve.access.gate import Gate
from clipserve.application.body import Body
from clipserve.application.shared import Shared
from clipserve.quota import Quota
from clipserve.rpc.calls import Calls, Work
from clipserve.rpc.options import RpcOptions
from clipserve.rpc.server import SERVICE
from clipserve.telemetry.metrics import Metrics
from tests.rpc.client import Client, Refused, refused

LIMITS: dict[str, Any] = {
    "host": "127.0.0.1",
    "grpc_port": 0,
    **dict.fromkeys(("grpc_tls_cert_file", "grpc_tls_key_file", "grpc_tls_client_ca_file")),
    "deadline_seconds": 20.0,
    "body_timeout_seconds": 20.0,
    "keep_alive_seconds": 60.0,
    "drain_seconds": 1,
    "max_body_bytes": 1_000_000,
    "max_json_bytes": 1_000_000,
    "max_in_flight_bytes": 8_000_000,
    "grpc_max_calls": 100,
    "max_connections": 100,
}


class Answering:
    """The door alone, in front of one method, `Embed`, and on a port."""

    def __init__(self, work: Work, budget_bytes: int, **limits: Any) -> None:
        self.metrics, self.budget = Metrics(), Quota("bytes", budget_bytes)
        inference: Any = None  # nothing asks it
        shared = Shared(inference, self.budget, Quota("bulk requests", 4), Gate(), self.metrics)
        self.calls = Calls(shared, RpcOptions(**LIMITS | limits))
        self.server = grpc.aio.server()
        handlers = {"Embed": self.calls.unary("Embed", work)}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def counted(self) -> dict[str, float]:
        """Calls by outcome."""
        (requests,) = (each for each in self.metrics.registry.collect() if each.name == "clipserve_requests")
        totals = (each for each in requests.samples if each.name.endswith("_total"))
        return {each.labels["outcome"]: each.value for each in totals}


@asynccontextmanager
async def answering(work: Work, budget_bytes: int = 10_000_000, **limits: Any) -> AsyncIterator[Answering]:
    running = Answering(work, budget_bytes, **limits)
    await running.server.start()
    try:
        yield running
    finally:
        await running.server.stop(None)


async def echo(body: Body) -> bytes:
    return body.take()


def raw(client: Client, **options: Any) -> Any:
    """Embed, of bytes; a stream, whose client says itself when it ends."""
    return client.channel.stream_unary(f"/{SERVICE}/Embed")(**options)


async def status_of(call: Any) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refused(caught.value)
