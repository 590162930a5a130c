"""A Triton that answers calls with INTERNAL: a row whose vector is known decides whether it gets more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import grpc
import numpy as np
import pytest

from clipserve.engine.backend import Backend
from clipserve.errors import BackendFailed, BackendUnavailable, ClipError
from clipserve.telemetry.metrics import Metrics
from tests.support.logs import Log
from tests.support.waiting import until
from tests.triton.backends import backend_on, not_ready
from tests.triton.stand_in import StandIn
from tests.triton.test_gathering import gathering, text

INTERNAL = (grpc.StatusCode.INTERNAL, "onnx runtime error 1: CUDA failure 700: an illegal memory access")
CLIENTS = 64


class Load:
    """Clients that ask for one text after the other. `outcomes`: "" or the code of an error -> requests."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    @asynccontextmanager
    async def on(self, backend: Backend) -> AsyncIterator[None]:
        clients = [asyncio.create_task(self._ask(backend)) for _ in range(CLIENTS)]
        yield
        for each in clients:
            each.cancel()
        await asyncio.wait(clients)

    async def _ask(self, backend: Backend) -> None:
        while True:
            try:
                await text(backend)
                self.outcomes[""] += 1
            except ClipError as error:
                self.outcomes[error.code] += 1
            await asyncio.sleep(0.01)

    async def more(self, requests: int = 4 * CLIENTS) -> Counter[str]:
        """The outcomes of at least so many more."""
        before = self.outcomes.copy()
        await until(lambda: (self.outcomes - before).total() >= requests)
        return self.outcomes - before


async def test_beside_a_well_server_a_sick_one_loses_nothing_and_gets_no_calls(
    one: StandIn, two: StandIn
) -> None:
    load, metrics = Load(), Metrics()

    def up() -> bool:
        labels = {"endpoint": one.url, "model": "demo"}
        return metrics.registry.get_sample_value("clipserve_triton_endpoint_up", labels) == 1

    async with gathering(one, two, metrics=metrics) as backend:
        await until(up)
        async with load.on(backend):
            await load.more()
            one.failure, failed = INTERNAL, len(one.calls)
            assert {*await load.more()} == {""}
            await until(lambda: not up())
            failed = len(one.calls) - failed
            tried = len(one.calls)
            assert {*await load.more()} == {""}
            assert await backend.ready()
            assert {*one.calls[tried:]} <= {1}, "no calls but those of trials"
            one.failure = None
            await until(up)
            back = len(one.calls)
            assert {*await load.more()} == {""}
            assert len(one.calls) > back, "it is used again"
    retries = metrics.registry.get_sample_value("clipserve_triton_retries_total", {"reason": "internal"})
    assert retries is not None
    assert 0 < retries < failed <= 2 * 4 + 1, "the calls in flight, and a trial; none is retried row by row"


async def test_alone_a_sick_server_makes_the_service_unready_until_it_passes_a_trial(one: StandIn) -> None:
    load = Load()
    async with gathering(one) as backend, load.on(backend):
        assert {*await load.more()} == {""}
        one.failure = INTERNAL
        await until(lambda: not_ready(backend))  # until then its calls are at fault
        await load.more()
        assert {*await load.more()} == {"backend_unavailable"}
        assert not await backend.ready()
        with pytest.raises(BackendUnavailable) as raised:
            await text(backend)
        assert raised.value.retry_after == 1
        one.failure = None
        await until(backend.ready)
        assert {*await load.more()} <= {"", "backend_unavailable"}
        assert {*await load.more()} == {""}


@pytest.mark.parametrize("servers", [1, 2])
async def test_a_row_that_no_server_can_compute_fails_alone(one: StandIn, two: StandIn, servers: int) -> None:
    async with gathering(*[one, two][:servers], calls=1) as backend:
        await text(backend)  # now there is a row whose vector is known
        one.poison = two.poison = 666
        for server in (one, two):
            server.computing.clear()
        first = [asyncio.create_task(text(backend)) for _ in range(servers)]
        await asyncio.sleep(0.1)
        token_ids = np.ones((1, 8), np.int32)
        bad = asyncio.create_task(backend.encode_text(token_ids * 666, token_ids[0, :1]))
        good = [asyncio.create_task(text(backend)) for _ in range(7)]
        await asyncio.sleep(0.1)
        for server in (one, two):
            server.computing.set()
        await asyncio.gather(*first, *good)
        with pytest.raises(BackendFailed):
            await bad
        assert await backend.ready()


async def test_a_sick_server_is_logged_once_with_its_reason(one: StandIn, written: Log) -> None:
    async with backend_on(one) as backend:
        await backend.server_of()
        one.failure = INTERNAL
        with pytest.raises(BackendFailed):
            await backend.server_of()
        await until(lambda: not backend.up(one.url))
        tried = len(one.calls)
        await until(lambda: len(one.calls) > tried)
        one.failure = None
        await until(lambda: bool(backend.up(one.url)))
    lines = [line for line in written.lines if line["event"] == "triton" and line["endpoint"] == one.url]
    assert [line["state"] for line in lines] == ["ready", "sick", "ready"]
    assert "CUDA failure 700" in lines[1]["reason"]


async def test_when_all_are_set_aside_the_one_that_was_first_is_used(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two, first_pause_seconds=3_600) as backend:
        await backend.server_of()
        for sick, other in ((one, two), (two, one)):
            sick.failure = INTERNAL
            while backend.up(sick.url):
                with suppress(ClipError):
                    await backend.server_of()
            assert other.failure or await backend.server_of() == other.value
        assert not await backend.ready()
        one.failure = two.failure = None
        assert {await backend.server_of() for _ in range(4)} == {one.value}


async def test_the_pauses_between_trials_grow(one: StandIn) -> None:
    async with backend_on(one, first_pause_seconds=0.3) as backend:
        await backend.server_of()
        one.failure, one.times[:] = INTERNAL, []
        with pytest.raises(BackendFailed):
            await backend.server_of()
        await until(lambda: len(one.times) >= 5)
        pauses = [later - before for before, later in pairwise(one.times[1:5])]  # between trials
        least = (0.29, 0.59, 1.19)  # a timer may be early by a tick
        assert all(pause >= each for pause, each in zip(pauses, least, strict=True)), pauses


async def test_a_sick_server_that_is_started_again_has_its_trial_at_once(one: StandIn) -> None:
    async with backend_on(one, first_pause_seconds=3_600) as backend:
        await backend.server_of()
        one.failure = INTERNAL
        with pytest.raises(BackendFailed):
            await backend.server_of()
        one.failure, one.ready, asked = None, False, one.asked_ready
        await until(lambda: one.asked_ready > asked + 1)
        one.ready = True
        await until(lambda: bool(backend.up(one.url)))


async def test_a_lone_server_that_sheds_calls_stays_in_use(one: StandIn) -> None:
    """As a proxy does under load; to refuse all calls until a trial gets through would be an outage."""
    async with backend_on(one) as backend:
        await backend.server_of()
        one.failure = (
            grpc.StatusCode.UNAVAILABLE,
            "upstream connect error or disconnect/reset before headers",
        )
        with pytest.raises(BackendUnavailable):
            await backend.server_of()
        asked = one.asked_ready
        await until(lambda: one.asked_ready > asked + 4)
        assert await backend.ready()
        one.failure = None
        assert await backend.server_of() == 1
