"""What gRPC's own library bounds for us, and the port."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from clipserve.rpc import reads, server
from clipserve.v1 import clip_pb2
from loadtests.fake_backend import FakeBackend
from tests.rest.raw import hold
from tests.rpc import raw
from tests.rpc.client import Client, Refused, client_of
from tests.rpc.raw import call, connected, frame, message
from tests.support.service import DIM, Running, eventually, png, serving

REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.mark.parametrize(
    ("size", "status"),
    [
        pytest.param(10_000, grpc.StatusCode.INVALID_ARGUMENT, id="read, and no image"),
        pytest.param(10_001, grpc.StatusCode.RESOURCE_EXHAUSTED, id="not read"),
    ],
)
async def test_a_message_may_have_the_limit_of_bytes_and_not_one_more(
    toy: Path, size: int, status: grpc.StatusCode
) -> None:
    async with (
        serving(FakeBackend(DIM), toy, max_body_bytes=10_000, grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        with pytest.raises(Refused) as caught:
            await client.call("Embed", images=[bytes(size - 3)])  # a tag, and a length of two bytes
    assert caught.value.status == status


async def test_metadata_is_bounded(toy: Path) -> None:
    async with (
        serving(FakeBackend(DIM), toy, max_header_bytes=2_048, grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        await client.call("Embed", texts=["a"], metadata=[("x-request-id", "a" * 64)])
        with pytest.raises(Refused) as caught:
            await client.call("Embed", texts=["a"], metadata=[("x", "a" * 2_048)])
        assert caught.value.status == grpc.StatusCode.RESOURCE_EXHAUSTED
        await client.call("Embed", texts=["a"])


async def test_a_client_that_reads_nothing_is_gone_when_a_ping_has_no_answer(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A minute in use, which no setting shortens.
    monkeypatch.setattr(server, "_KEEPALIVE_SECONDS", 1.0)
    monkeypatch.setattr(server, "_KEEPALIVE_TIMEOUT_SECONDS", 1.0)
    async with (
        serving(FakeBackend(DIM), toy, grpc_enabled=True) as running,
        connected(running.rpc_address, window=0) as connection,
    ):
        connection.send(call(1), message(1, clip_pb2.EmbedRequest(texts=["a"]).SerializeToString()))
        registry, labels = running.gateway.metrics.registry, {"endpoint": "grpc Embed", "outcome": "OK"}
        # Counted when the answer has been taken, or the client is gone.
        await eventually(lambda: registry.get_sample_value("clipserve_requests_total", labels) == 1, 60)


@pytest.mark.parametrize("path", ["/clipserve.v1.Clip/Embed", "/grpc.health.v1.Health/Check", REFLECTION])
async def test_messages_that_are_withheld_take_memory_in_as_many_calls_as_there_are_places(
    toy: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """gRPC gives a stream room beyond its first 64 KB when its message is read, and says so before a pong."""
    monkeypatch.setattr(reads, "_CROWDED_SECONDS", 600.0)  # a busy machine ends none of them
    limits: dict[str, Any] = {"max_body_bytes": 1_000_000, "max_in_flight_bytes": 8_000_000}
    limits["max_in_flight_bytes_per_address"] = 4_000_000
    read = set[int]()

    async def listen(connection: raw.Connection) -> None:
        async for each in connection.frames():
            read.update({each.stream} if each.kind == raw.WINDOW_UPDATE and each.stream else ())

    async with (
        serving(FakeBackend(DIM), toy, grpc_enabled=True, **limits) as running,
        connected(running.rpc_address) as connection,
    ):
        listening = asyncio.create_task(listen(connection))
        for stream in range(1, 40, 2):
            beginning = message(stream, bytes(1_000), announced=900_000, end=False)
            connection.send(frame(raw.HEADERS, raw.END_HEADERS, stream, raw.fields_of(path)), beginning)
        async with asyncio.timeout(60):
            while len(read) < 4:
                connection.send(frame(raw.PING, 0, 0, bytes(8)))
                await asyncio.sleep(0.1)
        for _ in range(10):
            connection.send(frame(raw.PING, 0, 0, bytes(8)))
            await asyncio.sleep(0.1)
        listening.cancel()
    assert len(read) == 4, "half of the eight places, for one address"


@pytest.mark.slow
async def test_thousands_of_calls_on_one_connection_are_all_answered(client: Client) -> None:
    async with asyncio.timeout(120):
        answers = await asyncio.gather(
            *(client.call("Embed", texts=[str(number)], timeout=100) for number in range(2_000))
        )
    assert all(len(answer["results"]) == 1 for answer in answers)


async def test_more_connections_than_may_be_are_closed_at_once(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, max_connections=2, grpc_enabled=True) as running:
        address = running.rpc_address
        async with connected(address) as first, connected(address) as second:
            await asyncio.gather(anext(first.frames()), anext(second.frames()))
            async with connected(address) as third:
                async with asyncio.timeout(60):
                    assert [frame async for frame in third.frames()] == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        pytest.param("first_byte_timeout_seconds", b"", id="it says nothing"),
        pytest.param("keep_alive_seconds", raw.PREFACE + frame(raw.SETTINGS, 0, 0), id="it makes no call"),
    ],
)
async def test_an_idle_connection_is_closed(toy: Path, setting: str, said: bytes) -> None:
    idle: dict[str, Any] = {setting: 0.2}
    async with serving(FakeBackend(DIM), toy, grpc_enabled=True, **idle) as running:
        host, port = running.rpc_address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        async with asyncio.timeout(60):
            await reader.read()  # to its end
        writer.close()


async def test_a_flood_of_pings_costs_time_by_its_bytes(running: Running) -> None:
    flood = frame(raw.PING, 0, 0, bytes(8)) * 200_000
    host, port = running.rpc_address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    started = time.process_time()
    writer.write(raw.PREFACE + frame(raw.SETTINGS, 0, 0) + flood)
    await reader.readexactly(len(flood))
    assert (
        time.process_time() - started < 2
    )  # it takes 0.1 s; with strikes of gRPC's library against pings, 20 s
    writer.close()


async def test_rest_and_grpc_share_the_bytes_in_flight_and_probes_have_no_part_in_them(toy: Path) -> None:
    image = png(size=(400, 400))
    names = ("max_body_bytes", "max_in_flight_bytes", "max_in_flight_bytes_per_address")
    limits: dict[str, Any] = dict.fromkeys(names, len(image) + 1_000)
    async with (
        serving(FakeBackend(DIM), toy, **limits, grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        hold(running, 1_000)
        with pytest.raises(Refused) as caught:
            await client.call("Embed", images=[image])
        assert caught.value.fields["code"] == "overloaded"
        assert (await running.embed(image)).json()["code"] == "overloaded"
        hold(running, len(image))
        with pytest.raises(Refused):
            await client.call("Embed", texts=["a"])
        await client.channel.unary_unary("/grpc.health.v1.Health/Check")(b"\x0a\x03toy")  # a probe needs none
