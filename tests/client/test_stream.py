"""Answers in the order of items, in a bounded window, and nothing left behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from clipserve.client.stream import in_order
from tests.virtual_time import virtual_time


class Items:
    """Counts how many were read."""

    def __init__(self, count: int) -> None:
        self.count, self.read = count, 0

    async def __aiter__(self) -> AsyncGenerator[int, None]:
        for number in range(self.count):
            self.read += 1
            yield number


async def squared_later(number: int) -> int:
    await asyncio.sleep(random.Random(number).random() / 100)
    return number * number


async def collect(source: AsyncIterator[int], into: list[int]) -> None:
    async for answer in source:
        into.append(answer)


@virtual_time
async def test_answers_come_in_the_order_of_items_whatever_they_take() -> None:
    answers = [answer async for answer in in_order(Items(200).__aiter__(), squared_later, 16)]
    assert answers == [number * number for number in range(200)]


@virtual_time
@pytest.mark.parametrize(
    ("most", "most_bytes", "read"),
    [
        pytest.param(5, 1_000, 6, id="items"),
        pytest.param(100, 30, 4, id="bytes"),
        pytest.param(100, 3, 2, id="one always fits"),
    ],
)
async def test_whoever_takes_no_answers_stops_the_reading(most: int, most_bytes: int, read: int) -> None:
    items = Items(1_000)
    limits: dict[str, Any] = {"most_bytes": most_bytes, "size_of": lambda _: 10}
    async with aclosing(in_order(items.__aiter__(), squared_later, most, **limits)) as answers:
        pending = asyncio.ensure_future(anext(answers))
        await pending
        await asyncio.sleep(0.1)
        # The first answer is taken and its place free again only when the next is asked for.
        assert items.read <= read + 1
        before = items.read
        await asyncio.sleep(0.05)
        assert items.read == before


@virtual_time
async def test_closing_cancels_what_is_under_way_and_the_reading() -> None:
    begun, ended = [], []

    async def hang(number: int) -> int:
        begun.append(number)
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)
        return number

    answers = in_order(Items(10).__aiter__(), hang, 4)
    first = asyncio.ensure_future(anext(answers))
    while len(begun) < 4:
        await asyncio.sleep(0.001)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert sorted(ended) == sorted(begun) == [0, 1, 2, 3]
    assert len(asyncio.all_tasks()) == 1


async def three_and_an_error() -> AsyncGenerator[int, None]:
    for number in range(3):
        yield number
    raise ValueError("gone")


async def test_an_error_of_the_items_ends_what_is_under_way() -> None:
    async def hang(_: int) -> int:
        await asyncio.sleep(60)
        return 0

    answers: list[int] = []
    with pytest.raises(ValueError, match="gone"):
        await collect(in_order(three_and_an_error(), hang, 8), answers)
    assert answers == []
    assert len(asyncio.all_tasks()) == 1


@virtual_time
async def test_an_answer_is_given_while_the_next_item_is_waited_for() -> None:
    async def slow() -> AsyncGenerator[int, None]:
        yield 3
        await asyncio.sleep(60)

    async with aclosing(in_order(slow(), squared_later, 8)) as answers:
        assert await asyncio.wait_for(anext(answers), 30) == 9


async def test_an_error_of_the_work_ends_it() -> None:
    async def fail(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    answers: list[int] = []
    with pytest.raises(ValueError, match="two"):
        await collect(in_order(Items(50).__aiter__(), fail, 8), answers)
    assert answers == [0, 1]
    assert len(asyncio.all_tasks()) == 1
