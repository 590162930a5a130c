"""grpc.health.v1 follows the readiness of the service and of each model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from loadtests.fake_backend import FakeBackend
from tests.rpc.client import client_of
from tests.support import DIM, Running, eventually, serving

SERVICE = "clipserve.v1.Clip"
Response = health_pb2.HealthCheckResponse


@pytest.fixture
async def starting(toy: Path) -> AsyncIterator[tuple[Running, Any]]:
    """A service whose models are not warm yet, and a client of its health."""
    async with (
        serving(FakeBackend(DIM), toy, warm=False, grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        yield running, health_pb2_grpc.HealthStub(client.channel)


def asked(service: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


async def status(stub: Any, service: str) -> int:
    return int((await stub.Check(asked(service), timeout=60)).status)


@pytest.mark.parametrize("service", ["", SERVICE, "toy"])
async def test_health_follows_the_models_within_a_second_and_the_drain(
    starting: tuple[Running, Any], service: str
) -> None:
    running, stub = starting
    assert await status(stub, service) == Response.NOT_SERVING
    watch = stub.Watch(asked(service), timeout=60)
    assert (await watch.read()).status == Response.NOT_SERVING
    await running.gateway.warm_up()
    async with asyncio.timeout(60):
        assert (await watch.read()).status == Response.SERVING
    assert await status(stub, service) == Response.SERVING
    running.gateway.drain()
    async with asyncio.timeout(60):
        assert (await watch.read()).status == Response.NOT_SERVING
    assert await status(stub, service) == Response.NOT_SERVING


async def test_a_service_that_is_not_known_is_not_found_and_can_be_watched(
    starting: tuple[Running, Any],
) -> None:
    _, stub = starting
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await status(stub, "nobody")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert (await stub.Watch(asked("nobody")).read()).status == Response.SERVICE_UNKNOWN


async def test_one_watcher_that_leaves_takes_the_news_from_no_other(starting: tuple[Running, Any]) -> None:
    running, stub = starting
    leaves, stays = stub.Watch(asked("")), stub.Watch(asked(""))
    await leaves.read()
    await stays.read()
    leaves.cancel()
    await running.gateway.warm_up()
    async with asyncio.timeout(60):
        assert (await stays.read()).status == Response.SERVING


async def test_at_the_end_watchers_are_told_and_sent_away(toy: Path) -> None:
    async with (
        serving(FakeBackend(DIM), toy, grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        watch = health_pb2_grpc.HealthStub(client.channel).Watch(asked(""))
        async with asyncio.timeout(60):
            while (await watch.read()).status != Response.SERVING:
                pass
            running.gateway.end()
            assert (await watch.read()).status == Response.NOT_SERVING
            assert await watch.read() is grpc.aio.EOF


LEFT = ("clipserve_cancelled_total", {"endpoint": "grpc health.Watch"})


async def test_watchers_have_a_tenth_of_the_calls_an_address_a_quarter_of_it_and_keep_nobody_out(
    toy: Path,
) -> None:
    async with (
        serving(FakeBackend(DIM), toy, grpc_enabled=True, grpc_max_calls=80) as running,
        client_of(running.rpc_address) as client,
    ):
        stub = health_pb2_grpc.HealthStub(client.channel)
        watches = [stub.Watch(asked("")) for _ in range(2)]
        for watch in watches:
            await watch.read()
        for _ in range(200):
            with pytest.raises(grpc.aio.AioRpcError, match="you have 2 calls of Watch") as caught:
                await stub.Watch(asked("")).read()
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await status(stub, "")
        await client.call("Embed", texts=["a"])
        watches[0].cancel()
        await eventually(lambda: running.gateway.metrics.registry.get_sample_value(*LEFT) == 1)
        await stub.Watch(asked("")).read()
