"""How much a key may use: here, and through a Redis that may be away."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import memory
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import ConnectionError as NotConnected

from clipserve.access.gate import Gate, RateOptions
from clipserve.access.keys import Keys
from clipserve.access.rate_counter import LocalRateCounter
from clipserve.access.shared_rate_counter import SharedRateCounter
from clipserve.errors import BodyTooLarge, RateLimited, TooMany
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from tests.access.support import made
from tests.support.logs import logged
from tests.support.virtual_time import HandClock, virtual_time

EXPIRY = 10
ITEM = RateLimitItemPerSecond(10, 3600)


async def gate_of(rows: int = 0, size: int = 0, seconds: int = 3600) -> Gate:
    """A gate that a request has entered with the only key."""
    key, kept = made()
    gate = Gate(Keys([kept]), RateOptions(rows, size, seconds), LocalRateCounter(time.monotonic))
    enter(RequestContext("a"))
    await gate.enter(f"Bearer {key}", "use")
    return gate


async def test_rows_and_bytes_are_counted_apart_and_without_a_rate_not_limited() -> None:
    await (await gate_of()).charge(rows=10**6, size=10**9)
    gate = await gate_of(rows=1, size=1_000)
    await gate.charge(rows=3_600)
    with pytest.raises(RateLimited, match="1 rows a second, and up to 3,600 at once"):
        await gate.charge(rows=1)
    await gate.charge(size=3_600_000)
    with pytest.raises(RateLimited, match="1,000 bytes a second"):
        await gate.charge(size=1)


async def test_more_than_a_window_holds_is_refused_for_good_with_the_numbers() -> None:
    gate = await gate_of(rows=10, size=100, seconds=10)
    with pytest.raises(TooMany, match=r"101 rows.* 10 rows a second, and up to 100 at once") as rows:
        await gate.charge(rows=101)
    assert (rows.value.limit, rows.value.actual) == (100, 101)
    with pytest.raises(BodyTooLarge):
        await gate.charge(size=10**30)
    await gate.charge(rows=100, size=1_000)


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(0, 2 * EXPIRY)), max_size=20))
async def test_a_cost_fits_as_soon_as_it_is_said_to_and_not_before(uses: list[tuple[int, float]]) -> None:
    clock = HandClock(0.0)
    counter, item = LocalRateCounter(clock), RateLimitItemPerSecond(100, EXPIRY)
    for cost, pause in uses:
        asked, seconds = clock.now, await counter.take(item, "a", cost)
        if seconds is not None:
            clock.now = asked + seconds - 1e-3
            assert seconds < 1e-3 or await counter.take(item, "a", cost) is not None
            clock.now = asked + seconds + 1e-6
            assert await counter.take(item, "a", cost) is None
        clock.now += pause


async def test_in_this_process_is_counted_what_limits_counts_by_name_and_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = HandClock(1_000.0)
    monkeypatch.setattr(time, "time", clock)
    mine, theirs = LocalRateCounter(clock), SlidingWindowCounterRateLimiter(memory.MemoryStorage())
    items = [RateLimitItemPerSecond(100, 8, unit) for unit in ("rows", "bytes")]
    dice, taken = random.Random(1), 0
    for _ in range(5_000):
        item, name, cost = dice.choice(items), dice.choice("ab"), dice.choice([1, 1, 2, 3, 50, 100])
        seconds = await mine.take(item, name, cost)
        assert (seconds is None) == await theirs.hit(item, name, cost=cost)
        taken += cost if seconds is None else 0
        clock.now += dice.choice([0, 0.125, 0.125, 0.5, 20]) if dice.random() < 0.9 else 1
    monkeypatch.undo()
    assert taken > 10_000


class Redis:
    """`RateCounter` that may fail or hang."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.hangs = False

    async def take(self, item: RateLimitItem, name: str, cost: int) -> float | None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        return None


@pytest.mark.parametrize(
    "error", [NotConnected("gone"), OSError(), TimeoutError(), RecursionError()]
)  # the last: arrays in arrays
@virtual_time
async def test_while_redis_is_away_a_gateway_counts_alone_and_asks_now_and_then(error: Exception) -> None:
    redis, metrics = Redis(), Metrics()
    counter = SharedRateCounter(redis.take, metrics, pause_seconds=0.5)
    redis.error = error
    with logged() as log:
        taken = [await counter.take(ITEM, "a", 1) for _ in range(12)]
        assert [seconds is None for seconds in taken] == [True] * 10 + [False] * 2
        assert redis.asked == metrics.registry.get_sample_value("clipserve_redis_failures_total") == 1
        redis.error = None
        await asyncio.sleep(0.51)
        for _ in range(20):
            assert await counter.take(ITEM, "a", 1) is None
    assert redis.asked == 21
    assert log.events == ["redis_lost", "redis_back"]


@virtual_time
async def test_a_redis_that_hangs_is_not_waited_for_and_one_request_asks_again() -> None:
    redis = Redis()
    counter, redis.hangs = SharedRateCounter(redis.take, Metrics(), pause_seconds=0.5), True
    assert await asyncio.gather(*(counter.take(ITEM, "a", 1) for _ in range(5))) == [None] * 5
    assert redis.asked == 5, "those that came together"
    await asyncio.sleep(0.51)
    await asyncio.gather(*(counter.take(ITEM, "a", 1) for _ in range(5)))
    assert redis.asked == 6
