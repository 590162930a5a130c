"""How slow a client may be, and which time is not its own."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from clipserve.application.pace import PaceLimits, StreamPace
from clipserve.errors import BodyTooSlow
from tests.virtual_time import virtual_time

# A bulk request has eight times these seconds, 80, and a 512th of the rate: 100 bytes buy a second.
LIMITS = PaceLimits(body_timeout_seconds=10, min_body_bytes_per_second=51_200)


async def after(seconds: float) -> bytes:
    await asyncio.sleep(seconds)
    return b"a"


async def received(pace: StreamPace, size: int, most: float = 300) -> float:
    """Pieces of this size, a second apart, until they are refused; when that was, `most` seconds at most."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < most:
        try:
            await pace.receive(lambda: after(1))
        except BodyTooSlow:
            break
        pace.received(size)
    return loop.time() - began


@virtual_time
async def test_silence_is_too_slow() -> None:
    with pytest.raises(BodyTooSlow, match=r"nothing arrived within 10 s") as caught:
        await StreamPace(LIMITS).receive(lambda: after(60))
    assert caught.value.limit == 10


async def test_what_a_cancelled_reader_has_read_is_freed_at_once() -> None:
    class Body:
        pass

    freed: list[bool] = []
    waits = asyncio.Event()

    async def wait() -> None:
        waits.set()
        await asyncio.sleep(3600)

    async def read() -> None:
        body = Body()
        weakref.finalize(body, freed.append, True)
        await StreamPace(LIMITS).receive(wait)

    gc.disable()
    try:
        reader = asyncio.create_task(read())
        await waits.wait()
        reader.cancel()
        await asyncio.wait({reader})
        del reader
        await asyncio.sleep(0)
    finally:
        gc.enable()
    assert freed == [True]


@virtual_time
async def test_what_drips_is_too_slow_in_the_end_and_at_the_least_rate_it_may_go_on() -> None:
    assert await received(StreamPace(LIMITS), 1) == pytest.approx(80.8, abs=0.1)
    assert await received(StreamPace(LIMITS), 101) == pytest.approx(300, abs=0.1)


@virtual_time
async def test_what_came_early_buys_no_more_than_the_whole_time() -> None:
    pace = StreamPace(LIMITS)
    pace.received(1_000_000)
    assert await received(pace, 1) == pytest.approx(80.8, abs=0.1)


@virtual_time
async def test_no_time_passes_while_the_server_works() -> None:
    pace, began = StreamPace(LIMITS), asyncio.get_running_loop().time()

    async def work() -> None:
        with pace.at_work():
            await asyncio.sleep(50)

    worked = asyncio.create_task(work())
    await asyncio.sleep(0)
    with pytest.raises(BodyTooSlow, match="nothing arrived"):
        await pace.receive(lambda: after(300))
    assert asyncio.get_running_loop().time() - began == pytest.approx(60, abs=0.1)
    await worked


@virtual_time
async def test_answers_must_be_taken_at_the_least_rate() -> None:
    pace, left = StreamPace(LIMITS), []
    for size in (0, 0, 1_000):
        with pace.giving(size) as seconds:
            left.append(seconds)
            await asyncio.sleep(8)
    for wait in (100, 0):
        with pace.giving(0) as seconds:
            left.append(seconds)
            await asyncio.sleep(wait)
    assert left == pytest.approx([80, 72, 64, 66, 0], abs=0.1)


@virtual_time
async def test_time_in_which_it_takes_answers_is_not_one_in_which_it_sends_nothing() -> None:
    pace = StreamPace(LIMITS)
    with pace.giving(0):
        assert await pace.receive(lambda: after(50)) == b"a"
