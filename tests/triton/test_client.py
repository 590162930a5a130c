"""Which failures of a Triton server are made good on another, and which servers are used at all."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import grpc
import pytest

from clipserve.errors import BackendFailed, BackendUnavailable, ClipError, DeadlineExceeded, Overloaded
from tests.support.logs import Log
from tests.support.waiting import until
from tests.triton.backends import STOPPING, backend_on
from tests.triton.stand_in import MANIFEST, Failure, StandIn, standing_in
from tests.triton.wire import Wire


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (STOPPING, "unavailable"),
        ((grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'demo_text'"), "not_found"),
    ],
)
async def test_a_call_that_meets_a_server_on_its_way_out_is_made_again_elsewhere(
    one: StandIn, two: StandIn, failure: tuple[grpc.StatusCode, str], reason: str
) -> None:
    async with backend_on(one, two) as backend:
        one.failure, one.ready = failure, False
        assert [await backend.server_of() for _ in range(10)] == [2] * 10
        assert len(one.calls) == backend.retries(reason) == 1, "set aside after its first failure"
        one.failure = None
        await asyncio.sleep(0.5)
        assert await backend.server_of() == 2, "its watch does not say that it is ready"
        one.ready = True
        await until(lambda: bool(backend.up(one.url)))
        assert {await backend.server_of(), await backend.server_of()} == {1, 2}


async def test_a_server_that_takes_most_of_a_second_to_accept_a_connection_is_reached(one: StandIn) -> None:
    wire = Wire(one.port, pause=0.8)
    await wire.join()
    async with backend_on(urls=[wire.url]) as backend:
        assert await backend.server_of() == 1
    await wire.cut()


async def test_a_call_is_made_again_once(one: StandIn, two: StandIn) -> None:
    async with standing_in(3) as three, backend_on(one, two, three) as backend:
        for server in (one, two, three):
            server.failure = STOPPING
        with pytest.raises(BackendUnavailable):
            await backend.server_of()
        assert len(one.calls) + len(two.calls) + len(three.calls) == 2


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ((grpc.StatusCode.UNAVAILABLE, "[request id: 1] Exceeds maximum queue size"), Overloaded),
        ((grpc.StatusCode.UNAVAILABLE, "Überlastet", (("grpc-retry-pushback-ms", "500"),)), Overloaded),
        ((grpc.StatusCode.UNAVAILABLE, "Request timeout expired"), DeadlineExceeded),
        ((grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input"), BackendFailed),
    ],
)
async def test_what_is_an_answer_is_not_asked_for_elsewhere(
    one: StandIn, two: StandIn, failure: Failure, error: type[ClipError]
) -> None:
    async with backend_on(one, two) as backend:
        one.failure = two.failure = failure
        with pytest.raises(error):
            await backend.server_of()
        assert len(one.calls) + len(two.calls) == 1


async def test_without_any_server_a_call_is_refused_at_once(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        one.ready = False
        await until(lambda: not backend.up(one.url))
        await until(lambda: bool(backend.up(two.url)))
        assert await backend.ready(), "one of them is"
        two.ready = False
        await until(lambda: not backend.up(two.url))
        assert not await backend.ready()
        with pytest.raises(BackendUnavailable):
            await backend.server_of()
        assert one.calls == two.calls == []


async def test_a_server_of_another_artifact_is_refused_and_said_so_once(
    one: StandIn, two: StandIn, written: Log
) -> None:
    async with backend_on(one, two) as backend:
        two.ready = False
        await until(lambda: not backend.up(two.url))
        two.state(MANIFEST.fingerprint(precision="fp16"))
        two.ready, asked = True, two.asked
        await until(lambda: two.asked >= asked + 3)  # several looks, each of which could say so
        assert [await backend.server_of() for _ in range(4)] == [1] * 4
        states = [line["state"] for line in written.lines if line.get("endpoint") == two.url]
        assert "mismatch" in states
        assert all(state != following for state, following in pairwise(states)), "said once"
        assert (backend.up(two.url), two.calls) == (0, [])


async def test_a_gateway_starts_on_the_one_server_that_fits_and_on_none_that_does_not(
    one: StandIn, two: StandIn
) -> None:
    one.state("another")
    async with backend_on(two, urls=[one.url, two.url]) as backend:
        assert [await backend.server_of() for _ in range(4)] == [2] * 4
    two.state("")  # it does not say what it has
    with pytest.raises(BackendUnavailable, match="Write the repository again"):
        async with backend_on(urls=[one.url, two.url]):
            pass


async def test_vectors_of_another_shape_are_a_failure_of_the_backend(one: StandIn) -> None:
    async with backend_on(one) as backend:
        one.dim += 1
        with pytest.raises(BackendFailed, match=r"gave embeddings of \(3, "):
            await backend.server_of(rows=3)
        one.dim, one.output = MANIFEST.embed_dim, "another"
        with pytest.raises(BackendFailed, match=r"gave embeddings of \(\)"):
            await backend.server_of()


async def test_calls_and_questions_share_one_connection(one: StandIn) -> None:
    async with backend_on(one) as backend:
        await backend.server_of()
    assert {name for name, _ in one.peers} == {"ModelReady", "ModelInfer"}
    assert len({peer for _, peer in one.peers}) == 1
