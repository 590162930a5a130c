"""Rates through Redis, and what happens while it is away."""

from __future__ import annotations

import asyncio

import pytest
from limits import RateLimitItem, RateLimitItemPerSecond
from redis.exceptions import ConnectionError as NotConnected

from clipserve.access.rate_counter import LocalRateCounter, Refusal
from clipserve.access.shared_rate_counter import SharedRateCounter
from clipserve.telemetry.metrics import Metrics
from tests.logs import logged
from tests.virtual_time import virtual_time

ITEM = RateLimitItemPerSecond(10, 3600)


class Redis:
    """`RateCounter` that may fail or hang."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.hangs = False

    async def take(self, item: RateLimitItem, name: str, cost: int) -> Refusal | None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        return None


def failures(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("clipserve_redis_failures_total")


@pytest.fixture
def redis() -> Redis:
    return Redis()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def counter(redis: Redis, metrics: Metrics) -> SharedRateCounter:
    return SharedRateCounter(redis, LocalRateCounter(), metrics, pause_seconds=0.5)


@pytest.mark.parametrize("error", [NotConnected("gone"), OSError("gone"), TimeoutError()])
@virtual_time
async def test_while_redis_is_away_a_gateway_counts_alone_and_does_not_ask_each_time(
    counter: SharedRateCounter, redis: Redis, metrics: Metrics, error: Exception
) -> None:
    for _ in range(20):
        assert await counter.take(ITEM, "a", 1) is None
    redis.asked, redis.error = 0, error
    with logged() as log:
        taken = [await counter.take(ITEM, "a", 1) for _ in range(12)]
    assert [refusal is None for refusal in taken] == [True] * 10 + [False] * 2
    assert redis.asked == failures(metrics) == 1
    assert log.events == ["redis_lost"]


@virtual_time
async def test_a_redis_that_hangs_is_not_waited_for(
    counter: SharedRateCounter, redis: Redis, metrics: Metrics
) -> None:
    redis.hangs = True
    assert await asyncio.gather(*(counter.take(ITEM, "a", 1) for _ in range(5))) == [None] * 5
    for _ in range(5):
        assert await counter.take(ITEM, "a", 1) is None
    assert redis.asked == 5, "those that came together"


@virtual_time
async def test_one_request_asks_again_and_then_it_is_shared_again(
    counter: SharedRateCounter, redis: Redis, metrics: Metrics
) -> None:
    redis.error = NotConnected("gone")
    with logged() as log:
        await counter.take(ITEM, "a", 1)
        await asyncio.sleep(0.51)
        redis.error, redis.hangs = None, True
        await asyncio.gather(*(counter.take(ITEM, "a", 1) for _ in range(5)))
        assert redis.asked == 2
        redis.hangs = False
        await asyncio.sleep(0.51)
        for _ in range(20):
            assert await counter.take(ITEM, "a", 1) is None
        assert redis.asked == 22
    assert log.events == ["redis_lost", "redis_back"]
    assert failures(metrics) == 2
