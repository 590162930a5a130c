"""Several Triton servers as one backend: small gRPC servers stand in for them."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import grpc
import numpy as np
import pytest

from service.clip.manifest import Precision
from service.engine.triton.address import Address, look_up
from service.engine.triton.client import TritonBackend
from service.engine.triton.endpoints import LookUp
from service.engine.triton.options import TritonOptions
from service.errors import BackendFailed, BackendUnavailable, ClipError, DeadlineExceeded, Overloaded
from service.telemetry import log
from service.telemetry.metrics import Metrics
from service.telemetry.request import RequestContext, enter
from tests.triton.stand_in import MANIFEST, StandIn, standing_in, until

UNAVAILABLE, NOT_FOUND = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND
STOPPING = (
    UNAVAILABLE,
    "Server is stopping, scheduler for model has stopped accepting new inference requests",
)


@pytest.fixture
async def one() -> AsyncIterator[StandIn]:
    async with standing_in(1) as made:
        yield made


@pytest.fixture
async def two() -> AsyncIterator[StandIn]:
    async with standing_in(2) as made:
        yield made


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    log.configure("INFO", stream)
    yield stream
    log.configure("CRITICAL")


class Backend(TritonBackend):
    """A backend whose metrics can be read."""

    def __init__(self, urls: Sequence[str], look_up: LookUp) -> None:
        self.counted = Metrics()
        super().__init__(MANIFEST, TritonOptions(urls, look_up_seconds=0.05), self.counted, look_up)

    def up(self, server: str) -> float | None:
        labels = {"endpoint": server, "model": MANIFEST.name}
        return self.counted.registry.get_sample_value("clipserve_triton_endpoint_up", labels)

    def retries(self, reason: str) -> float:
        value = self.counted.registry.get_sample_value
        return value("clipserve_triton_retries_total", {"reason": reason}) or 0

    async def server_of(self, rows: int = 1) -> float:
        """Which server has answered a call of so many texts: its value, which is the same in all their vectors."""
        ids, lengths = np.ones((rows, 8), np.int32), np.ones(rows, np.int32)
        vectors = await self.encode_text(ids, lengths)
        assert vectors.shape == (rows, MANIFEST.embed_dim)
        (value,) = set(vectors.ravel().tolist())
        return float(value)


@asynccontextmanager
async def backend_on(
    *servers: StandIn, urls: Sequence[str] = (), look_up: LookUp = look_up
) -> AsyncIterator[Backend]:
    """Started, and every server was found ready."""
    backend = Backend(urls or [server.url for server in servers], look_up)
    try:
        async with asyncio.timeout(30):
            await backend.start()
            await until(lambda: all(backend.up(server.url) for server in servers))
            yield backend
    finally:
        await backend.aclose()


async def sent(server: StandIn, calls: int) -> None:
    await until(lambda: len(server.calls) >= calls)


async def test_equal_servers_take_turns(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        answers = [await backend.server_of() for _ in range(6)]
    assert answers in ([1, 2, 1, 2, 1, 2], [2, 1, 2, 1, 2, 1])


async def test_the_server_that_owes_the_fewest_rows_gets_the_next_call(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        one.answering.clear()
        while not one.calls:  # it has been given eight rows, and does not answer
            asking = asyncio.create_task(backend.server_of(8))
            await asyncio.wait({asking}, timeout=0.1)
        answers = [await backend.server_of(rows) for rows in (1, 7, 5)]
        assert answers == [2, 2, 2]
        labels = {"endpoint": one.url}
        assert backend.counted.registry.get_sample_value("clipserve_triton_endpoint_rows", labels) == 8
        one.answering.set()
        await asking


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(STOPPING, "unavailable"), ((NOT_FOUND, "Request for unknown model: 'demo_text'"), "not_found")],
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
        ((UNAVAILABLE, "[request id: 1] Exceeds maximum queue size"), Overloaded),
        ((UNAVAILABLE, "Request timeout expired"), DeadlineExceeded),
        ((grpc.StatusCode.INTERNAL, "out of memory"), BackendFailed),
    ],
)
async def test_what_is_an_answer_is_not_asked_for_elsewhere(
    one: StandIn, two: StandIn, failure: tuple[grpc.StatusCode, str], error: type[ClipError]
) -> None:
    async with backend_on(one, two) as backend:
        one.failure = two.failure = failure
        with pytest.raises(error):
            await backend.server_of()
        assert len(one.calls) + len(two.calls) == 1


async def test_what_a_silent_server_owes_is_moved(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        one.answering.clear()
        asking = [asyncio.create_task(backend.server_of()) for _ in range(8)]
        assert [await each for each in asking] == [2] * 8
        assert len(one.calls) == backend.retries("silent") == 4
        await until(lambda: one.cancelled == 4)
        assert [await backend.server_of() for _ in range(4)] == [2] * 4, "it is set aside"
        one.answering.set()
        await until(lambda: bool(backend.up(one.url)))
        assert {await backend.server_of(), await backend.server_of()} == {1, 2}


async def test_calls_wait_at_a_silent_server_until_another_is_ready(one: StandIn, two: StandIn) -> None:
    two.ready = False
    async with backend_on(one, urls=[one.url, two.url]) as backend:
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of())
        await until(lambda: not backend.up(one.url))
        await asyncio.sleep(0.5)
        assert not asking.done()
        two.ready = True
        assert await asking == 2


async def test_a_busy_server_that_answers_calls_is_not_silent(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        one.watched.clear()
        began = last = time.monotonic()
        while last - began < 2:  # four times as long as it may be silent
            answers = {await backend.server_of(), await backend.server_of()}
            now = time.monotonic()
            if now - last > 0.25:  # the machine holds the test up, and a look may come between
                began = now
            elif last > began:
                assert answers == {1, 2}
                assert backend.up(one.url) == 1
            last = now


async def test_no_call_outlives_its_deadline(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        for server in (one, two):
            server.answering.clear()
        began = time.monotonic()
        enter(RequestContext("a", began + 1.5))
        try:
            with pytest.raises(DeadlineExceeded):
                await backend.server_of()
            assert 1.4 < time.monotonic() - began < 5
        finally:
            enter(None)


async def test_a_caller_who_leaves_takes_his_call_back(one: StandIn) -> None:
    async with backend_on(one) as backend:
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of())
        await sent(one, 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: one.cancelled == 1)


async def test_calls_still_running_at_the_end_find_no_server(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        one.answering.clear()
        two.answering.clear()
        asking = [asyncio.create_task(backend.server_of()) for _ in range(4)]
        await sent(one, 2)
        await sent(two, 2)
    for task in asking:
        with pytest.raises(BackendUnavailable):
            await task


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


@pytest.mark.parametrize("precision", [None, "fp16"])
async def test_a_server_of_another_artifact_or_precision_is_refused_and_said_so_once(
    one: StandIn, two: StandIn, precision: Precision | None, logs: io.StringIO
) -> None:
    async with backend_on(one, two) as backend:
        two.ready = False
        await until(lambda: not backend.up(two.url))
        two.serve(precision, precision)
        if precision is None:
            two.state("fingerprint", MANIFEST.fingerprint(precision="fp8"))
        two.ready, asked = True, two.asked
        await until(lambda: two.asked >= asked + 6)  # several looks, each of which could say so
        assert [await backend.server_of() for _ in range(4)] == [1] * 4
        said = [json.loads(line) for line in logs.getvalue().splitlines()]
        states = [line["state"] for line in said if line.get("endpoint") == two.url]
        assert "mismatch" in states
        assert all(state != following for state, following in pairwise(states)), "said once"
        assert backend.up(two.url) == 0
        assert two.calls == []


async def test_it_starts_on_the_one_server_that_fits_and_on_none_that_does_not(
    one: StandIn, two: StandIn
) -> None:
    one.state("fingerprint", "another")
    async with backend_on(two, urls=[one.url, two.url]) as backend:
        assert [await backend.server_of() for _ in range(4)] == [2] * 4
    two.state("fingerprint", "another")
    with pytest.raises(BackendUnavailable, match="Make the repository anew"):
        async with backend_on(urls=[one.url, two.url]):
            pass


async def test_a_large_request_is_split_by_the_server_that_takes_the_least(
    one: StandIn, two: StandIn
) -> None:
    for model in two.models.values():
        model.max_batch_size = 3
    async with backend_on(one, two) as backend:
        await backend.encode_text(np.ones((10, 8), np.int32), np.ones(10, np.int32))
        assert sorted(one.calls + two.calls) == [1, 3, 3, 3]


async def test_a_call_made_for_a_larger_limit_is_not_sent_to_a_server_that_takes_less(
    one: StandIn, two: StandIn
) -> None:
    async with backend_on(one, two) as backend:
        two.ready = False
        await until(lambda: not backend.up(two.url))
        for model in two.models.values():
            model.max_batch_size = 3
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of(8))
        await sent(one, 1)
        two.ready = True
        await until(lambda: bool(backend.up(two.url)))
        one.failure = STOPPING  # of the next call
        one.answering.set()
        assert await asking == 1
        assert two.calls == []


class Names:
    """What a name server says: at first nothing."""

    def __init__(self) -> None:
        self.servers: list[str] = []
        self.asked = 0

    async def look_up(self, address: Address) -> list[str]:
        assert address == Address("triton", 8001)
        self.asked += 1
        if not self.servers:
            raise OSError(-2, "Name or service not known")
        return self.servers

    async def tell(self, *servers: StandIn) -> None:
        """Say so, and wait until it was asked for again."""
        self.servers, asked = [server.url for server in servers], self.asked
        await until(lambda: self.asked >= asked + 3)


async def test_a_name_is_looked_up_again_and_its_servers_come_and_go(one: StandIn, two: StandIn) -> None:
    names = Names()
    telling = asyncio.create_task(names.tell(one))
    async with backend_on(urls=["triton:8001"], look_up=names.look_up) as backend:
        await telling
        assert await backend.server_of() == 1
        await names.tell(one, two)
        await until(lambda: bool(backend.up(two.url)))
        assert {await backend.server_of(), await backend.server_of()} == {1, 2}
        await names.tell()
        assert {await backend.server_of(), await backend.server_of()} == {1, 2}, "nobody knows; they stay"
        await names.tell(two)
        await until(lambda: backend.up(one.url) is None)
        assert await backend.server_of() == 2
        exposed = [sample for family in backend.counted.registry.collect() for sample in family.samples]
        assert not [sample for sample in exposed if one.url in sample.labels.values()]


async def test_a_server_that_its_name_has_lost_serves_until_another_is_ready(
    one: StandIn, two: StandIn
) -> None:
    names = Names()
    names.servers, two.ready = [one.url], False
    async with backend_on(one, urls=["triton:8001"], look_up=names.look_up) as backend:
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of())
        await sent(one, 1)
        one.answering.set()
        await names.tell(two)
        assert await asking == 1
        assert await backend.server_of() == 1
        two.ready = True
        await until(lambda: backend.up(one.url) is None)
        assert await backend.server_of() == 2


async def test_a_call_in_flight_ends_before_its_server_is_let_go(one: StandIn, two: StandIn) -> None:
    names = Names()
    names.servers = [one.url]
    async with backend_on(one, urls=["triton:8001"], look_up=names.look_up) as backend:
        one.watched.clear()  # not silent yet: half a second
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of())
        await sent(one, 1)
        names.servers = [two.url]
        await until(lambda: bool(backend.up(two.url)))
        one.answering.set()
        assert await asking == 1
        await until(lambda: backend.up(one.url) is None)
