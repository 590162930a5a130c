"""Health and reflection are behind the same door as Clip: keys, sizes, times, places, counts and the log."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from clipserve.access.key_file import add_key
from loadtests.fake_backend import FakeBackend
from tests.rpc.client import Client, Refused, client_of, refused
from tests.support import DIM, Running, eventually, serving

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
EACH = pytest.mark.parametrize("path", [CHECK, WATCH, REFLECTION])
QUESTION = ServerReflectionRequest(list_services="").SerializeToString()


async def asked(client: Client, path: str, message: bytes | None, **options: Any) -> Any:
    """The first answer of any of these methods, whose client says nothing more: bytes.

    Raises:
        Refused: there is none.
    """
    call = client.channel.stream_stream(path)(timeout=60, **options)
    try:
        if message is not None:
            await call.write(message)
        return await call.read()
    except grpc.aio.AioRpcError as error:
        raise refused(error) from None


@pytest.fixture
async def quick(toy: Path) -> AsyncIterator[Client]:
    """A client of a service where a message must come soon; a busy machine sends one within the second."""
    async with (
        serving(FakeBackend(DIM), toy, body_timeout_seconds=1.0, grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        yield client


@EACH
async def test_a_message_of_more_than_a_kilobyte_is_refused(client: Client, path: str) -> None:
    await asked(client, path, b"\x7a\xfc\x07" + bytes(1_020))  # a field that is not known, 1,023 bytes
    with pytest.raises(Refused) as caught:
        await asked(client, path, b"\x7a\xfe\x07" + bytes(1_022))
    assert caught.value.status == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.fields | {"detail": ""} == {
        "code": "body_too_large",
        "limit": 1_024,
        "actual": 1_025,
        "detail": "",
    }


@EACH
async def test_a_call_that_says_nothing_is_ended(quick: Client, path: str) -> None:
    with pytest.raises(Refused) as caught:
        await asked(quick, path, None)
    assert (caught.value.status, caught.value.fields["code"]) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "body_too_slow",
    )


async def test_where_keys_are_asked_for_health_needs_none_and_reflection_does(
    toy: Path, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys", "a", ["use"])
    async with (
        serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys", grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        for path in (CHECK, WATCH):
            assert await asked(client, path, b"")
        with pytest.raises(Refused) as caught:
            await asked(client, REFLECTION, None)
        assert caught.value.status == grpc.StatusCode.UNAUTHENTICATED
        assert await asked(client, REFLECTION, QUESTION, metadata=[("authorization", f"Bearer {key}")])


async def test_probes_are_counted_and_not_logged_and_who_leaves_is_no_error(
    running: Running, client: Client, written: io.StringIO
) -> None:
    await client.channel.unary_unary(CHECK)(b"")
    calls = [client.channel.stream_stream(path)() for path in (WATCH, REFLECTION)]
    for call, message in zip(calls, (b"", QUESTION), strict=True):
        await call.write(message)
        await call.read()
        call.cancel()

    def count(endpoint: str, outcome: str) -> float | None:
        labels = {"endpoint": f"grpc {endpoint}", "outcome": outcome}
        return running.gateway.metrics.registry.get_sample_value("clipserve_requests_total", labels)

    await eventually(lambda: count("health.Check", "OK") == 1)
    await eventually(lambda: count("health.Watch", "client_gone") == 1)
    # Of who leaves, gRPC says first that there are no more messages: a busy service has ended the call by then.
    left = ("client_gone", "OK")
    await eventually(lambda: sum(count("reflection.ServerReflectionInfo", each) or 0 for each in left) == 1)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(each["level"], each["endpoint"]) for each in lines] == [
        ("info", "grpc reflection.ServerReflectionInfo")
    ]
