"""Reads have slots, which are dealt in turn to connections, and make room when they last too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from clipserve.errors import BodyTooSlow, Overloaded
from clipserve.rpc.reading import ReadLimits, ReadSlots

LONG = 600.0  # seconds that no test waits for


class Sender:
    """A client whose message is whole when it says so."""

    def __init__(self) -> None:
        self.whole = asyncio.Event()
        self.begun = False

    async def receive(self) -> bytes:
        self.begun = True
        await self.whole.wait()
        return b"message"


async def begun(*senders: Sender) -> None:
    """Until all of these are read from."""
    async with asyncio.timeout(60):
        while not all(sender.begun for sender in senders):
            await asyncio.sleep(0)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def reading(slots: ReadSlots, sender: Sender, connection: str = "a") -> asyncio.Task[bytes]:
    return asyncio.create_task(slots.receive(connection, sender.receive))


async def at_once(slots: ReadSlots) -> None:
    """Read a message that is there: a slot is free."""
    sender = Sender()
    sender.whole.set()
    assert await asyncio.wait_for(slots.receive("z", sender.receive), 60) == b"message"


async def ended(*tasks: asyncio.Task[bytes]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_no_more_is_read_at_a_time_than_there_are_slots() -> None:
    slots = ReadSlots(ReadLimits(2, LONG, LONG))
    senders = [Sender() for _ in range(3)]
    tasks = [reading(slots, sender) for sender in senders]
    await begun(*senders[:2])
    await settle()
    assert not senders[2].begun
    senders[1].whole.set()
    assert await tasks[1] == b"message"
    await begun(senders[2])
    await ended(*tasks)


async def test_slots_are_dealt_in_turn_to_connections() -> None:
    slots = ReadSlots(ReadLimits(1, LONG, LONG))
    order: list[str] = []

    def receive(name: str) -> Callable[[], Coroutine[Any, Any, bytes]]:
        async def noted() -> bytes:
            order.append(name)
            await asyncio.sleep(0)
            return b""

        return noted

    first = Sender()
    busy = reading(slots, first)
    await begun(first)
    names = ["a1", "a2", "a3", "b1", "b2", "c1"]
    tasks = [asyncio.create_task(slots.receive(name[0], receive(name))) for name in names]
    await settle()
    first.whole.set()
    await asyncio.gather(busy, *tasks)
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_a_message_that_is_not_whole_in_time_is_too_slow() -> None:
    slots = ReadSlots(ReadLimits(1, 0.05))
    with pytest.raises(BodyTooSlow, match=r"not whole within 0\.05 s") as caught:
        await slots.receive("a", Sender().receive)
    assert caught.value.limit == 0.05
    await at_once(slots)  # its slot is free again


async def test_a_long_reading_makes_room_when_another_waits_and_not_before() -> None:
    slots = ReadSlots(ReadLimits(1, LONG, crowded_seconds=0.05))
    slow, other = Sender(), Sender()
    first = reading(slots, slow)
    await asyncio.sleep(0.2)
    assert not first.done()
    other.whole.set()
    assert await asyncio.wait_for(slots.receive("b", other.receive), 60) == b"message"
    with pytest.raises(BodyTooSlow, match="and others waited for its place") as caught:
        await first
    assert caught.value.limit == 0.05


async def test_a_reading_that_has_just_begun_keeps_its_slot_for_the_time_it_has() -> None:
    slots = ReadSlots(ReadLimits(1, LONG, crowded_seconds=30))
    slow, other = Sender(), Sender()
    first = reading(slots, slow)
    await begun(slow)
    second = reading(slots, other, "b")
    await settle()
    assert not first.done()
    slow.whole.set()
    assert await first == b"message"
    other.whole.set()
    assert await second == b"message"


async def test_as_many_readings_make_room_as_wait_the_longest_first() -> None:
    slots = ReadSlots(ReadLimits(3, LONG, crowded_seconds=0.05))
    slow = [Sender() for _ in range(3)]
    tasks = []
    for sender in slow:
        tasks.append(reading(slots, sender))
        await begun(sender)
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    others = [Sender(), Sender()]
    waiting = [reading(slots, sender, name) for sender, name in zip(others, "bc", strict=True)]
    await begun(*others)
    await settle()
    assert [task.done() for task in tasks] == [True, True, False]
    await ended(*tasks, *waiting)


async def test_who_gets_no_turn_in_time_is_told_to_come_back() -> None:
    slots = ReadSlots(ReadLimits(1, 0.1, LONG))
    tasks = [reading(slots, Sender()) for _ in range(10)]
    # The first is too slow; few of the others can have its slot before their own time is over.
    *_, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(last, Overloaded)
    assert last.retry_after == 1
    await at_once(slots)


async def test_who_leaves_while_waiting_leaves_nothing_behind() -> None:
    slots, sender = ReadSlots(ReadLimits(1, LONG, LONG)), Sender()
    busy = reading(slots, sender)
    await begun(sender)
    gone, stays = Sender(), Sender()
    leaving, staying = reading(slots, gone, "b"), reading(slots, stays, "b")
    await settle()
    await ended(leaving)
    sender.whole.set()
    await busy
    await begun(stays)
    assert not gone.begun
    stays.whole.set()
    await staying
    await at_once(slots)


async def test_a_reading_that_is_given_up_is_not_cancelled_and_ends_by_itself() -> None:
    slots, sender = ReadSlots(ReadLimits(1, 0.02)), Sender()
    ended = asyncio.Event()

    async def receive() -> bytes:
        try:
            return await sender.receive()
        finally:
            ended.set()

    with pytest.raises(BodyTooSlow):
        await slots.receive("a", receive)
    await settle()
    assert not ended.is_set()
    sender.whole.set()
    await asyncio.wait_for(ended.wait(), 60)


async def test_the_error_of_a_reading_is_the_reader_s() -> None:
    async def broken() -> bytes:
        raise ValueError("broken")

    slots = ReadSlots(ReadLimits(1, LONG))
    with pytest.raises(ValueError, match="broken"):
        await slots.receive("a", broken)
    await at_once(slots)
