"""Health and reflection: what they answer, and that they are behind the same walls as Clip."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from clipserve.access.key_file import add_key
from clipserve.rpc.server import SERVICE
from loadtests.fake_backend import FakeBackend
from tests.rpc.client import Client, Refused, client_of, refused
from tests.support.service import DIM, Running, eventually, serving

CHECK = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
QUESTION = ServerReflectionRequest(list_services="").SerializeToString()
Response = health_pb2.HealthCheckResponse


class Asked:
    """A call of any of these methods, whose client says no more than this message, or nothing."""

    def __init__(self, client: Client, path: str, message: bytes | None = b"", **options: Any) -> None:
        self._call = client.channel.stream_stream(path)(timeout=60, **options)
        self._message = message
        self.cancel = self._call.cancel

    async def answer(self, message: bytes | None = None) -> Any:
        """The next answer: bytes. Raises Refused: there is none."""
        first, self._message = self._message, message
        try:
            if first is not None:
                await self._call.write(first)
            return await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise refused(error) from None

    async def status(self) -> int:
        return int(Response.FromString(await asyncio.wait_for(self.answer(), 60)).status)


def of(service: str) -> bytes:
    return bytes(health_pb2.HealthCheckRequest(service=service).SerializeToString())


@pytest.mark.parametrize("service", ["", SERVICE, "toy"])
async def test_health_follows_the_models_and_the_drain(toy: Path, service: str) -> None:
    async with (
        serving(FakeBackend(DIM), toy, warm=False, grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        assert await Asked(client, CHECK, of(service)).status() == Response.NOT_SERVING
        await running.gateway.warm_up()
        assert await Asked(client, CHECK, of(service)).status() == Response.SERVING
        running.gateway.drain()
        assert await Asked(client, CHECK, of(service)).status() == Response.NOT_SERVING


async def test_a_service_that_is_not_known_is_not_found(client: Client) -> None:
    with pytest.raises(Refused) as caught:
        await Asked(client, CHECK, of("nobody")).answer()
    assert caught.value.status == grpc.StatusCode.NOT_FOUND


async def test_reflection_describes_the_service(client: Client) -> None:
    call = Asked(client, REFLECTION, QUESTION)
    more = ServerReflectionRequest(file_containing_symbol=SERVICE).SerializeToString()
    listed = ServerReflectionResponse.FromString(await call.answer(more)).list_services_response.service
    assert {each.name for each in listed} >= {SERVICE, "grpc.health.v1.Health"}
    described = ServerReflectionResponse.FromString(await call.answer()).file_descriptor_response
    proto = FileDescriptorProto.FromString(described.file_descriptor_proto[0])
    assert (proto.package, proto.service[0].name) == ("clipserve.v1", "Clip")


@pytest.mark.parametrize("path", [CHECK, REFLECTION, f"/{SERVICE}/EmbedStream"])
async def test_a_call_that_says_nothing_is_ended(toy: Path, path: str) -> None:
    async with (
        serving(FakeBackend(DIM), toy, body_timeout_seconds=0.3, grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        with pytest.raises(Refused) as caught:
            await Asked(client, path, None).answer()
        assert caught.value.fields["code"] == "body_too_slow"


async def test_where_keys_are_asked_for_health_needs_none_and_reflection_does(
    toy: Path, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys", "a", ["use"])
    async with (
        serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys", grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        await Asked(client, CHECK).answer()
        with pytest.raises(Refused) as caught:
            await Asked(client, REFLECTION, None).answer()  # before its message is read
        assert caught.value.status == grpc.StatusCode.UNAUTHENTICATED
        await Asked(client, REFLECTION, QUESTION, metadata=[("authorization", f"Bearer {key}")]).answer()


async def test_probes_are_counted_and_not_logged_and_who_leaves_is_no_error(
    running: Running, client: Client, written: io.StringIO
) -> None:
    for path, message in ((CHECK, b""), (REFLECTION, QUESTION)):
        call = Asked(client, path, message)
        await call.answer()
        call.cancel()

    def count(endpoint: str, *outcomes: str) -> float:
        labels = [{"endpoint": f"grpc {endpoint}", "outcome": outcome} for outcome in outcomes]
        read = running.gateway.metrics.registry.get_sample_value
        return sum(read("clipserve_requests_total", each) or 0 for each in labels)

    await eventually(lambda: count("health.Check", "OK") == 1)
    # Of who leaves, gRPC says first that there are no more messages: a busy service has ended the call by then.
    await eventually(lambda: count("reflection.ServerReflectionInfo", "client_gone", "OK") == 1)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(each["level"], each["endpoint"]) for each in lines] == [
        ("info", "grpc reflection.ServerReflectionInfo")
    ]
