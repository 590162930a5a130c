"""How slow a client may be, and which time is not its own."""

from __future__ import annotations

import asyncio

import pytest

from clipserve.application.pace import PaceLimits, StreamPace
from clipserve.errors import BodyTooSlow

# A bulk request has eight times these seconds, and a 512th of the rate: 100 bytes buy a second.
LIMITS = PaceLimits(body_timeout_seconds=0.2, min_body_bytes_per_second=51_200)


async def after(seconds: float) -> bytes:
    await asyncio.sleep(seconds)
    return b"a"


async def received(pace: StreamPace, seconds: float, size: int, most: float = 4) -> float:
    """Pieces of this size, so many seconds apart, until they are refused; when that was, `most` seconds at most."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            await pace.receive(lambda: after(seconds))
        except BodyTooSlow:
            return loop.time() - began
        pace.received(size)
        if loop.time() - began > most:
            return float("inf")


async def test_silence_is_too_slow() -> None:
    with pytest.raises(BodyTooSlow, match=r"nothing arrived within 0\.2 s") as caught:
        await StreamPace(LIMITS).receive(lambda: after(60))
    assert caught.value.limit == 0.2


async def test_what_drips_is_too_slow_in_the_end_and_at_the_least_rate_it_may_go_on() -> None:
    slow, steady = await asyncio.gather(
        received(StreamPace(LIMITS), 0.05, 1), received(StreamPace(LIMITS), 0.05, 20, most=2.5)
    )
    assert 1.6 <= slow < 4
    assert steady == float("inf")


async def test_what_came_early_buys_no_more_than_the_whole_time() -> None:
    pace = StreamPace(LIMITS)
    pace.received(1_000_000)
    assert await received(pace, 0.05, 1) < 4


async def test_no_time_passes_while_the_server_works() -> None:
    pace, ended = StreamPace(LIMITS), asyncio.Event()

    async def work() -> None:
        with pace.at_work():
            await asyncio.sleep(1)
        ended.set()

    worked = asyncio.create_task(work())
    await asyncio.sleep(0)
    with pytest.raises(BodyTooSlow, match="nothing arrived"):
        await pace.receive(lambda: after(60))
    assert ended.is_set(), "the client waited for its answer, and was sent away"
    await worked


async def test_answers_must_be_taken_at_the_least_rate() -> None:
    pace, left = StreamPace(LIMITS), []
    for size in (0, 0, 1_000):
        with pace.giving(size) as seconds:
            left.append(seconds)
            await asyncio.sleep(0.12)
    with pace.giving(0) as seconds:
        left.append(seconds)
    assert left[0] == 1.6
    assert left[1] <= 1.5
    assert left[2] <= 1.4
    assert left[3] == 1.6


async def test_time_in_which_it_takes_answers_is_not_one_in_which_it_sends_nothing() -> None:
    pace = StreamPace(LIMITS)
    with pace.giving(0):
        assert await pace.receive(lambda: after(0.5)) == b"a"
