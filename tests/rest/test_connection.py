"""What a client can do to its connection, and what becomes of the others'."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loadtests.fake_backend import FakeBackend
from tests.rest.gated import Gated
from tests.rest.raw import ask, connected, get, post, requests_counted
from tests.support.service import DIM, Running, eventually, png, serving

GOOD = post(png())


def phases(running: Running) -> list[str]:
    """Of all connections that are open, in the order of the alphabet."""
    return sorted(member.phase.name for member in running.gateway.connections.connections)


def outcomes(running: Running) -> dict[str, float]:
    return {outcome: count for (_, outcome), count in requests_counted(running.gateway.metrics).items()}


# One request after the other.


async def test_a_client_that_waits_is_told_to_go_on(running: Running) -> None:
    request = post(png(), b"Expect: 100-continue")
    head, body = request[: -len(png())], png()
    async with connected(running) as raw:
        await raw.send(head)
        assert (await raw.answer()).status == 100
        await raw.send(body)
        assert (await raw.answer()).status == 200


async def test_a_client_that_waits_is_told_at_once_that_it_need_not_send(running: Running) -> None:
    async with connected(running) as raw:
        await raw.send(post(b"", b"Expect: 100-continue").replace(b"Length: 0", b"Length: 30000000"))
        answer = await raw.answer()
        assert (answer.status, answer.code, answer.headers["connection"]) == (413, "body_too_large", "close")


async def test_a_body_that_is_refused_is_let_in_for_a_moment_so_that_the_answer_is_read(toy: Path) -> None:
    async with serving(FakeBackend(DIM), toy, max_body_bytes=1_000) as running, connected(running) as raw:
        await raw.send(post(bytes(5_000_000)))
        assert (await raw.answer()).code == "body_too_large"
        assert await raw.closed()


# What is no request.


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, 431, "headers_too_large"),
    ],
)
async def test_what_is_no_request_is_answered_like_any_other_error(
    running: Running, sent: bytes, status: int, code: str
) -> None:
    async with connected(running) as raw:
        await raw.send(sent)
        answer = await raw.answer()
        assert (answer.status, answer.code) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"].encode() in answer.body
        assert answer.headers["connection"] == "close"
        assert await raw.closed()
    assert outcomes(running)[code] == 1
    assert (await running.embed(png())).status_code == 200


# Time. `tests/rest/test_wire.py` has how long each may take.


async def test_the_service_closes_a_connection_on_which_nothing_comes(toy: Path) -> None:
    brief: dict[str, Any] = {"first_byte_timeout_seconds": 0.3}
    async with serving(FakeBackend(DIM), toy, **brief) as running, connected(running) as raw:
        async with asyncio.timeout(4):  # the other limits are longer
            assert await raw.closed()


async def test_a_request_that_takes_longer_than_all_these_times_is_answered(toy: Path) -> None:
    names = ("header", "first_byte", "write")
    brief: dict[str, Any] = {f"{name}_timeout_seconds": 1.0 for name in names} | {"keep_alive_seconds": 1.0}
    backend = Gated()
    async with serving(backend, toy, **brief) as running:
        backend.gate.clear()
        asyncio.get_running_loop().call_later(3, backend.gate.set)
        assert (await ask(running, GOOD)).status == 200


# Departures.


@pytest.mark.parametrize(
    ("behind", "reset"), [(b"", False), (b"", True), (get() * 3_000, False), (b"GET / HT", True)]
)
async def test_who_leaves_is_seen_to_leave_whatever_was_sent_behind(
    toy: Path, behind: bytes, reset: bool
) -> None:
    backend = Gated()
    async with serving(backend, toy, deadline_seconds=60) as running:
        backend.gate.clear()
        async with connected(running) as raw:
            await raw.send(GOOD, behind)
            await eventually(lambda: backend.running == 1)
            raw.leave(reset=reset)
            await eventually(lambda: backend.running == 0)
        await eventually(lambda: outcomes(running) == {"client_gone": 1})


# Room.


async def test_half_a_request_makes_room_for_another_address_and_not_for_its_own(toy: Path) -> None:
    # An address that may have all bytes is a proxy's, and may have all connections.
    walls: dict[str, Any] = {"max_connections": 2, "max_in_flight_bytes_per_address": 256_000_000}
    async with (
        serving(FakeBackend(DIM), toy, **walls) as running,
        connected(running) as first,
        connected(running) as second,
    ):
        for raw in (first, second):
            await raw.send(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        await eventually(lambda: phases(running) == ["BODY"] * 2)
        refused = await ask(running, get())
        assert (refused.status, refused.code) == (503, "too_many_connections")
        counted = running.gateway.metrics.registry.get_sample_value
        assert counted("clipserve_refused_total", {"reason": "too_many_connections"}) == 1
        assert (await ask(running, get(), source="127.0.0.2")).status == 200
        assert await first.closed()
    assert outcomes(running)["client_gone"] >= 1


# The end.


async def test_at_the_end_idle_connections_are_closed_and_a_request_on_its_way_is_answered(toy: Path) -> None:
    async with (
        serving(FakeBackend(DIM), toy) as running,
        connected(running) as idle,
        connected(running) as busy,
    ):
        await busy.send(GOOD[:20])
        await eventually(lambda: "HEAD" in phases(running))
        running.gateway.server.should_exit = True
        assert await idle.closed()
        await busy.send(GOOD[20:])
        answer = await busy.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await busy.closed()
