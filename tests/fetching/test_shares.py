"""What each of several callers gets of a limited number, and what waits."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import pytest

from clipserve.errors import Overloaded
from clipserve.fetching.shares import Shares
from clipserve.telemetry.request import RequestContext, enter
from tests.virtual_time import virtual_time
from tests.waiting import settled


def most(shares: Shares, stack: ExitStack, caller: str) -> int:
    """How many this caller can take, one by one."""
    taken = 0
    while True:
        try:
            stack.enter_context(shares.taken(caller, 1))
        except Overloaded:
            return taken
        taken += 1


def test_a_caller_gets_half_of_what_the_callers_before_it_left() -> None:
    shares = Shares("places", 64)
    with ExitStack() as stack:
        assert [most(shares, stack, caller) for caller in "abcdef"] == [32, 16, 8, 4, 2, 1]
    with ExitStack() as stack:
        assert most(shares, stack, "b") == 32, "all were given back"


def test_a_caller_that_has_nothing_may_take_all_that_is_free() -> None:
    shares = Shares("bytes", 100)
    with (
        shares.taken("a", 250),
        pytest.raises(Overloaded, match=r"1 more bytes do not fit: you have 0, and 0 of"),
    ):
        shares.taken("b", 1).__enter__()
    with shares.taken("a", 70), shares.taken("b", 30):
        pass


async def holding(shares: Shares, caller: str, told: list[str], go: asyncio.Event, amount: int = 1) -> None:
    async with shares.awaited(caller, amount):
        told.append(caller)
        await go.wait()


async def test_who_waits_gets_what_is_given_back_and_callers_take_turns() -> None:
    shares, told, first, later = Shares("places", 4), list[str](), asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(holding(shares, "a", told, first)) for _ in range(2)]
    await settled()
    tasks += [asyncio.create_task(holding(shares, caller, told, later)) for caller in "aaabcb"]
    await settled()
    assert "".join(told) == "aabc"
    first.set()
    await settled()
    assert "".join(told) == "aabca", "b has as many as stay free"
    later.set()
    await asyncio.gather(*tasks)
    assert sorted(told) == sorted("aaaaabcb")


async def test_what_is_too_large_for_now_does_not_hold_up_other_callers() -> None:
    shares, told, go = Shares("bytes", 100), list[str](), asyncio.Event()
    wanted = (("a", 60), ("b", 60), ("c", 20))
    tasks = [asyncio.create_task(holding(shares, caller, told, go, amount)) for caller, amount in wanted]
    await settled()
    assert told == ["a", "c"]
    go.set()
    await asyncio.gather(*tasks)
    assert told == ["a", "c", "b"]


async def test_who_stops_waiting_takes_nothing() -> None:
    shares, told, go = Shares("places", 2), list[str](), asyncio.Event()
    first, second, third = (asyncio.create_task(holding(shares, "a", told, go)) for _ in range(3))
    await settled()
    second.cancel()
    go.set()
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert (told, second.cancelled()) == (["a", "a"], True)
    with ExitStack() as stack:
        assert most(shares, stack, "b") == 1


async def test_what_is_granted_to_who_leaves_at_that_moment_is_given_back() -> None:
    shares, told, go = Shares("places", 1), list[str](), asyncio.Event()
    first, second = (asyncio.create_task(holding(shares, caller, told, go)) for caller in "ab")
    await settled()
    go.set()
    while "b" not in told and not first.done():
        await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    shares.taken("c", 1).__enter__()


@virtual_time
async def test_a_request_waits_for_a_third_of_its_time_and_is_refused() -> None:
    shares = Shares("places", 1)
    enter(RequestContext("id", deadline=time.monotonic() + 0.4))
    with shares.taken("a", 1), pytest.raises(Overloaded, match="there were no places for"):
        await shares.awaited("b", 1).__aenter__()
    async with shares.awaited("b", 1):
        pass


async def test_what_is_held_until_something_ends_is_given_back_then() -> None:
    shares = Shares("places", 1)
    thread = asyncio.get_running_loop().create_future()
    async with shares.awaited("a", 1) as held:
        held.until = thread
    with pytest.raises(Overloaded):
        shares.taken("b", 1).__enter__()
    thread.set_result(None)
    await settled()
    shares.taken("b", 1).__enter__()
