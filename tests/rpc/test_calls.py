"""One call and its answer: ids, times, the budget of bytes, and what is counted and logged."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from clipserve.access.key_file import add_key
from clipserve.application.body import Body
from clipserve.connections import Proxies
from clipserve.rpc.calls import host_of
from clipserve.rpc.server import SERVICE
from loadtests.fake_backend import FakeBackend
from tests.rpc.answering import answering, echo, raw, status_of
from tests.rpc.client import Client, Refused, client_of
from tests.support.service import DIM, Running, eventually, png, serving


async def test_the_answer_has_the_caller_s_id_and_the_times_of_the_stages(client: Client) -> None:
    await client.call("Embed", images=[png()], metadata=[("x-request-id", "abc-1")])
    assert client.metadata["x-request-id"] == "abc-1"
    assert client.metadata["server-timing"].startswith("decode;dur=")
    await client.call("Embed", texts=["a"], metadata=[("x-request-id", "no word")])
    assert len(client.metadata["x-request-id"]) == 32


async def test_a_call_with_two_authorizations_is_refused_whichever_comes_last(
    toy: Path, tmp_path: Path
) -> None:
    right = ("authorization", "Bearer " + add_key(tmp_path / "keys", "a", ["use"]))
    wrong = ("authorization", "Bearer no")
    async with (
        serving(FakeBackend(DIM), toy, keys_file=tmp_path / "keys", grpc_enabled=True) as running,
        client_of(running.rpc_address) as client,
    ):
        await client.call("Embed", texts=["a"], metadata=[right])
        for both in ([wrong, right], [right, wrong], [right, right]):
            with pytest.raises(Refused) as caught:
                await client.call("Embed", texts=["a"], metadata=both)
            assert caught.value.status == grpc.StatusCode.UNAUTHENTICATED


async def test_the_first_message_of_a_call_is_answered_and_a_call_of_none_is_refused() -> None:
    async with answering(echo) as running, client_of(running.address) as client:
        call = raw(client)
        await call.write(b"a")  # the client does not say that it ends
        assert await call == b"a"
        call = raw(client)
        await call.done_writing()
        failed = await status_of(call)
        assert (failed.status, failed.fields["code"]) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "malformed_request",
        )
        assert "without a message" in failed.fields["detail"]


@pytest.mark.parametrize(
    ("options", "most"),
    [
        pytest.param({}, 2, id="a client"),
        pytest.param({"shares_address": True}, 4, id="a proxy of all clients"),
        pytest.param(
            {"proxies": Proxies(("127.0.0.0/8", "::1"))}, 4, id="two clients behind a trusted proxy"
        ),
    ],
)
async def test_an_address_has_half_of_the_calls_unless_it_is_a_proxy_s(
    options: dict[str, Any], most: int
) -> None:
    async def hang(_: Body) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with (
        answering(hang, grpc_max_calls=4, **options) as running,
        client_of(running.address) as client,
    ):
        method = client.channel.unary_unary(f"/{SERVICE}/Embed")
        calls = [
            asyncio.ensure_future(method(b"", metadata=[("x-forwarded-for", f"192.0.2.{number % 2}")]))
            for number in range(most)
        ]
        await eventually(lambda: running.calls.quota.used == most)
        failed = await status_of(method(b""))
        assert (failed.status, failed.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 1)
        assert f"{most} calls, and 1 more do not fit into the limit" in failed.fields["detail"]
        for call in calls:
            call.cancel()
        await eventually(lambda: running.counted() == {"overloaded": 1, "client_gone": most})


async def test_each_call_is_one_line_of_the_log_and_counted_once(
    running: Running, client: Client, written: io.StringIO
) -> None:
    await client.call("Embed", texts=["secret"], metadata=[("x-request-id", "first")])
    with pytest.raises(Refused):
        await client.call("Classify", metadata=[("x-request-id", "second")])
    await eventually(lambda: len(written.getvalue().splitlines()) >= 2)
    # A call is logged when its client has taken the answer, who may have made another one by then.
    lines = sorted(map(json.loads, written.getvalue().splitlines()), key=lambda line: line["request_id"])
    assert [(each["event"], each["request_id"], each["endpoint"], each["outcome"]) for each in lines] == [
        ("request", "first", "grpc Embed", "OK"),
        ("request", "second", "grpc Classify", "invalid_input"),
    ]
    assert "secret" not in written.getvalue()
    registry = running.gateway.metrics.registry
    labels = {"endpoint": "grpc Embed", "outcome": "OK"}
    assert registry.get_sample_value("clipserve_requests_total", labels) == 1


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:1234", "127.0.0.1"),
        ("ipv6:%5B::1%5D:1234", "::1"),
        ("ipv6:[2001:db8::1]:1234", "2001:db8::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1234", "fe80::1%eth0"),
        ("unix:", ""),
    ],
)
def test_the_host_of_a_peer_is_known_however_grpc_writes_it(peer: str, host: str) -> None:
    assert host_of(peer) == host
