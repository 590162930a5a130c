"""How a call ends that is not simply answered: too slow, too late, its client gone, or its answer not taken."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from clipserve.application.body import Body
from clipserve.rpc.server import SERVICE
from clipserve.telemetry.request import describe, remaining
from tests.rest.gated import Gated
from tests.rpc.answering import answering, echo, raw
from tests.rpc.client import Refused, client_of
from tests.rpc.raw import call, connected, message
from tests.support.service import eventually, serving


async def test_a_call_whose_deadline_is_over_before_its_message_has_come_is_late_and_not_malformed() -> None:
    async with answering(echo) as running, client_of(running.address) as client:
        async with asyncio.timeout(60):
            while sum(running.counted().values()) < 10:  # of a busy client some are over before they are sent
                assert await raw(client, timeout=0.02).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        # A client whose own clock is ahead has left.
        assert running.counted().keys() <= {"deadline_exceeded", "client_gone"}


async def test_the_work_knows_the_shorter_of_the_caller_s_deadline_and_ours() -> None:
    async def left(body: Body) -> bytes:
        return str(remaining(1_000)).encode()

    async with answering(left, deadline_seconds=50) as running, client_of(running.address) as client:
        method = client.channel.unary_unary(f"/{SERVICE}/Embed")
        assert 30 < float(await method(b"")) <= 50
        assert 10 < float(await method(b"", timeout=30)) < 32  # gRPC rounds what it sends


async def test_a_call_that_the_end_of_a_drain_cuts_off_is_no_departure_of_its_client(toy: Path) -> None:
    backend = Gated()
    async with (
        serving(backend, toy, grpc_enabled=True, drain_seconds=1) as running,
        client_of(running.rpc_address) as client,
    ):
        backend.gate.clear()
        call = asyncio.ensure_future(client.call("Embed", texts=["b"]))
        await eventually(lambda: backend.running == 1, 60)
        running.gateway.end()
        with pytest.raises(Refused):
            await call
        labels = {"endpoint": "grpc Embed", "outcome": "backend_unavailable"}
        count = running.gateway.metrics.registry.get_sample_value
        await eventually(lambda: count("clipserve_requests_total", labels) == 1)


async def test_an_answer_that_was_computed_is_not_refused_for_its_bytes() -> None:
    async def large(body: Body) -> bytes:
        describe(rows=1)
        return bytes(1_000_000)

    async with answering(large, budget_bytes=10_000) as running, client_of(running.address) as client:
        assert len(await client.channel.unary_unary(f"/{SERVICE}/Embed")(b"a")) == 1_000_000


async def test_messages_and_large_answers_are_part_of_the_budget_until_they_are_taken() -> None:
    held: list[int] = []

    async def large(body: Body) -> bytes:
        held.append(running.budget.used)
        return bytes(1_000_000)

    async with answering(large) as running:
        async with connected(running.address, window=0) as connection:
            connection.send(call(1), message(1, bytes(5_000)))
            await eventually(lambda: running.budget.used == 1_005_000)
        await eventually(lambda: running.budget.used == 0)
    assert held == [5_000]
