"""How long a cost must wait, and that it fits then."""

from __future__ import annotations

import random
import time
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.aio.storage import memory
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from clipserve.access.rate_counter import LocalRateCounter, seconds_until
from tests.virtual_time import HandClock

EXPIRY = 10


def counts_at(seconds: float, window: tuple[int, float, int, float]) -> int:
    """What counts after so many seconds without use, by the formula of the strategy."""
    previous, left, current, lives = window
    end = lives - EXPIRY  # of this window
    if seconds < end:
        return floor(previous * max(0.0, left - seconds) / EXPIRY) + current
    return floor(current * max(0.0, lives - seconds) / EXPIRY)


@given(
    previous=st.integers(0, 10**6),
    current=st.integers(0, 10**6),
    left=st.floats(0.01, EXPIRY),
    room=st.integers(0, 10**6),
)
def test_a_cost_fits_as_soon_as_it_is_said_to_and_not_before(
    previous: int, current: int, left: float, room: int
) -> None:
    window = (previous, left, current, left + EXPIRY)  # both slide at the same time
    seconds = seconds_until(room, EXPIRY, window)
    assert 0 <= seconds <= 2 * EXPIRY
    assert counts_at(seconds + 1e-6, window) <= room
    if seconds > 1e-3:
        assert counts_at(seconds - 1e-3, window) >= room


async def test_in_this_process_is_counted_what_limits_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock(1_000.0)
    monkeypatch.setattr(time, "time", clock)
    mine, theirs = LocalRateCounter(clock), SlidingWindowCounterRateLimiter(memory.MemoryStorage())
    item, dice, taken = RateLimitItemPerSecond(100, 8), random.Random(1), 0
    for _ in range(5_000):
        cost = dice.choice([1, 1, 2, 3, 50, 100])
        refusal = await mine.take(item, "a", cost)
        assert (refusal is None) == await theirs.hit(item, "a", cost=cost)
        taken += cost if refusal is None else 0
        clock.now += dice.choice([0, 0.125, 0.125, 0.5, 20]) if dice.random() < 0.9 else 1
    monkeypatch.undo()
    assert taken > 10_000


async def test_after_the_seconds_that_a_refusal_says_it_fits() -> None:
    clock = HandClock(1_000.0)
    counter, item = LocalRateCounter(clock), RateLimitItemPerSecond(100, 10)
    dice, refused = random.Random(2), 0
    for _ in range(300):
        clock.now += dice.random()
        cost = dice.randint(1, 100)
        refusal = await counter.take(item, "a", cost)
        if refusal:
            refused += 1
            assert refusal.seconds_for_one <= refusal.seconds
            clock.now += refusal.seconds + 1e-6
            assert await counter.take(item, "a", cost) is None
    assert refused > 50


async def test_names_and_items_have_windows_of_their_own() -> None:
    counter = LocalRateCounter()
    rows, bytes_ = (RateLimitItemPerSecond(10, 3600, unit) for unit in ("rows", "bytes"))
    for item in (rows, bytes_):
        for name in ("a", "b"):
            assert await counter.take(item, name, 10) is None
            assert await counter.take(item, name, 1)
