"""How much a key may use."""

from __future__ import annotations

import asyncio
import time

import pytest

from clipserve.access.gate import RateOptions, Rates
from clipserve.access.rate_counter import LocalRateCounter
from clipserve.errors import BodyTooLarge, RateLimited, TooMany
from tests.access.support import made
from tests.virtual_time import virtual_time


def rates(rows: int = 0, size: int = 0, seconds: int = 3600) -> Rates:
    return Rates(RateOptions(rows, size, seconds), LocalRateCounter(time.monotonic))


async def test_without_a_rate_there_is_no_limit() -> None:
    limits, (_, key) = rates(), made()
    for _ in range(100):
        await limits.charge(key, 10**6, 10**9)
        limits.check(key)


async def test_rows_and_bytes_are_counted_apart() -> None:
    limits, (_, key) = rates(rows=1, size=1_000), made()
    await limits.charge(key, 3_600, 0)
    with pytest.raises(RateLimited, match="1 rows a second, and up to 3,600 at once"):
        await limits.charge(key, 1, 0)
    await limits.charge(key, 0, 3_600_000)
    with pytest.raises(RateLimited, match="1,000 bytes a second"):
        await limits.charge(key, 0, 1)


async def test_a_key_has_its_own_rate_or_that_of_all() -> None:
    limits = rates(rows=1)
    (_, usual), (_, large), (_, free) = made(), made(rows_per_second=2), made(rows_per_second=0)
    await limits.charge(usual, 3_600, 0)
    await limits.charge(large, 7_200, 0)
    await limits.charge(free, 10**6, 0)
    for key in (usual, large):
        with pytest.raises(RateLimited):
            await limits.charge(key, 1, 0)


async def test_more_than_a_window_holds_is_refused_for_good_with_the_numbers() -> None:
    limits, (_, key) = rates(rows=10, size=100, seconds=10), made()
    with pytest.raises(TooMany, match=r"101 rows.* 10 rows a second, and up to 100 at once") as rows:
        await limits.charge(key, 101, 0)
    assert (rows.value.limit, rows.value.actual) == (100, 101)
    with pytest.raises(BodyTooLarge) as size:
        await limits.charge(key, 0, 10**30)
    assert (size.value.limit, size.value.actual) == (1_000, 1e30)
    limits.check(key)
    await limits.charge(key, 100, 1_000)


@virtual_time
async def test_a_key_with_nothing_left_is_refused_at_the_door_until_a_row_fits() -> None:
    limits, (_, key), (_, other) = rates(rows=10, seconds=1), made(), made("other")
    await limits.charge(key, 10, 0)
    limits.check(key)  # nobody has been refused yet
    with pytest.raises(RateLimited):
        await limits.charge(key, 1, 0)
    with pytest.raises(RateLimited) as refused:
        limits.check(key)
    limits.check(other)
    assert 0 < refused.value.retry_after <= 2
    await asyncio.sleep(refused.value.retry_after + 0.001)
    limits.check(key)
    await limits.charge(key, 1, 0)


async def test_a_large_request_that_is_refused_does_not_hold_up_a_small_one() -> None:
    limits, (_, key) = rates(rows=1), made()
    await limits.charge(key, 3_000, 0)
    with pytest.raises(RateLimited):
        await limits.charge(key, 1_000, 0)
    limits.check(key)
    await limits.charge(key, 600, 0)
