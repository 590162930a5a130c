"""Answers in the order of items, of a bounded number of them, and nothing left behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from clipserve.commands.vectors.stream import in_order
from tests.support.virtual_time import virtual_time

MOST = 4


class Items:
    """Numbers. `read`: how many were; the item `bad` is an error."""

    def __init__(self, count: int, bad: int | None = None) -> None:
        self.count, self.bad, self.read = count, bad, 0

    async def __aiter__(self) -> AsyncGenerator[int, None]:
        for number in range(self.count):
            if number == self.bad:
                raise ValueError("gone")
            self.read += 1
            yield number


@virtual_time
async def test_answers_come_in_the_order_of_items_and_so_many_are_worked_on_at_once() -> None:
    at_once = most = 0

    async def squared_later(number: int) -> int:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(random.Random(number).random())
        at_once -= 1
        return number * number

    answers = [answer async for answer in in_order(Items(200).__aiter__(), squared_later, MOST)]
    assert (answers, most) == ([number * number for number in range(200)], MOST)


@virtual_time
async def test_whoever_takes_no_answers_stops_the_reading_and_closing_cancels_the_work() -> None:
    items, begun, ended = Items(1_000), list[int](), list[int]()

    async def work(number: int) -> int:
        begun.append(number)
        try:
            await asyncio.sleep(3_600 if number else 0)
        finally:
            ended.append(number)
        return number

    async with aclosing(in_order(items.__aiter__(), work, MOST)) as answers:
        assert await anext(answers) == 0
        await asyncio.sleep(60)
        assert (items.read <= 4 * MOST + 1, len(begun)) == (True, 1 + MOST)
    assert sorted(ended) == sorted(begun)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("bad", [pytest.param(None, id="of the work"), pytest.param(9, id="of the items")])
async def test_the_first_error_ends_it(bad: int | None) -> None:
    answers: list[int] = []

    async def work(number: int) -> int:
        if number == 2:
            await asyncio.sleep(3_600 if bad else 0)
            raise ValueError("gone")
        return number

    async def collect() -> None:
        async for answer in in_order(Items(50, bad).__aiter__(), work, MOST):
            answers.append(answer)

    with pytest.raises(ValueError, match="gone"):
        await collect()
    assert answers in ([0, 1], [])
    assert len(asyncio.all_tasks()) == 1
