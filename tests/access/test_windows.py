"""How long a cost must wait, and that it fits then."""

from __future__ import annotations

import asyncio
from math import floor

from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage

from service.access.windows import StoredWindows, seconds_until

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


async def test_who_has_used_nothing_has_a_whole_window_at_once_and_then_the_rate() -> None:
    windows, item = StoredWindows(MemoryStorage()), RateLimitItemPerSecond(100, 1)
    assert await windows.take(item, "a", 100) is None
    refusal = await windows.take(item, "a", 10)
    assert refusal
    assert 0 < refusal.seconds_for_one <= refusal.seconds < 2
    await asyncio.sleep(refusal.seconds + 0.001)
    assert await windows.take(item, "a", 10) is None


async def test_what_is_refused_costs_nothing() -> None:
    windows, item = StoredWindows(MemoryStorage()), RateLimitItemPerSecond(100, 3600)
    assert await windows.take(item, "a", 60) is None
    for _ in range(5):
        assert await windows.take(item, "a", 50)
    assert await windows.take(item, "a", 40) is None


async def test_names_and_items_have_windows_of_their_own() -> None:
    windows = StoredWindows(MemoryStorage())
    rows, bytes_ = (RateLimitItemPerSecond(10, 3600, unit) for unit in ("rows", "bytes"))
    for item in (rows, bytes_):
        for name in ("a", "b"):
            assert await windows.take(item, name, 10) is None
            assert await windows.take(item, name, 1)
