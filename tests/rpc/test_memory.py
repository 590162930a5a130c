"""Messages are read in places, of which one caller has half, and which are given up when others wait."""

from __future__ import annotations

import asyncio

import pytest

from clipserve.errors import BodyTooSlow, Overloaded
from clipserve.rpc import memory
from clipserve.rpc.memory import Reads, drop, read_patiently
from tests.logs import logged

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


def reading(reads: Reads, sender: Sender, caller: str = "a") -> asyncio.Task[bytes]:
    return asyncio.create_task(reads.receive(caller, sender.receive))


async def at_once(reads: Reads) -> None:
    """Read a message that is there: a place is free."""
    sender = Sender()
    sender.whole.set()
    assert await asyncio.wait_for(reads.receive("z", sender.receive), 60) == b"message"


async def ended(*tasks: asyncio.Task[bytes]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_no_more_is_read_at_a_time_than_there_are_places() -> None:
    reads = Reads(2, LONG)
    senders = [Sender() for _ in range(3)]
    tasks = [reading(reads, sender, name) for sender, name in zip(senders, "abc", strict=True)]
    await begun(*senders[:2])
    await settle()
    assert not senders[2].begun
    senders[1].whole.set()
    assert await tasks[1] == b"message"
    await begun(senders[2])
    await ended(*tasks)


@pytest.mark.parametrize(("shares_address", "most"), [(False, 2), (True, 4)])
async def test_one_caller_has_half_of_the_places_unless_it_is_a_proxy(
    shares_address: bool, most: int
) -> None:
    reads = Reads(4, LONG, shares_address=shares_address)
    senders = [Sender() for _ in range(5)]
    tasks = [reading(reads, sender) for sender in senders]
    await settle()
    assert sum(sender.begun for sender in senders) == most
    if not shares_address:
        await at_once(reads)
    await ended(*tasks)


async def test_a_message_that_is_not_whole_in_time_is_too_slow() -> None:
    reads = Reads(1, 0.05)
    with pytest.raises(BodyTooSlow, match=r"not whole within 0\.0\d+ s"):
        await reads.receive("a", Sender().receive)
    await at_once(reads)  # its place is free again


async def test_a_long_read_gives_its_place_up_when_another_waits_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_CROWDED_SECONDS", 0.05)
    reads = Reads(1, LONG)
    slow, other = Sender(), Sender()
    first = reading(reads, slow)
    await asyncio.sleep(0.2)
    assert not first.done()
    other.whole.set()
    assert await asyncio.wait_for(reads.receive("b", other.receive), 60) == b"message"
    with pytest.raises(BodyTooSlow, match="if others wait"):
        await first


async def test_who_gets_no_place_in_time_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CROWDED_SECONDS", LONG)
    reads = Reads(1, 0.1)
    tasks = [reading(reads, Sender()) for _ in range(10)]
    # The first is too slow; few of the others can have its place before their own time is over.
    *_, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(last, Overloaded)
    assert last.retry_after == 1
    await at_once(reads)


async def test_who_leaves_while_waiting_leaves_nothing_behind() -> None:
    reads, sender = Reads(1, LONG), Sender()
    busy = reading(reads, sender)
    await begun(sender)
    gone, stays = Sender(), Sender()
    leaving, staying = reading(reads, gone, "b"), reading(reads, stays, "b")
    await settle()
    await ended(leaving)
    sender.whole.set()
    await busy
    await begun(stays)
    assert not gone.begun
    stays.whole.set()
    await staying
    await at_once(reads)


async def test_a_read_that_is_given_up_is_not_cancelled_and_ends_by_itself() -> None:
    sender, ended = Sender(), asyncio.Event()

    async def receive() -> bytes:
        try:
            return await sender.receive()
        finally:
            ended.set()

    with pytest.raises(BodyTooSlow):
        await read_patiently(receive, 0.02, lambda _: True)
    await settle()
    assert not ended.is_set()
    sender.whole.set()
    await asyncio.wait_for(ended.wait(), 60)


async def test_the_error_of_a_read_is_the_reader_s() -> None:
    async def broken() -> bytes:
        raise ValueError("broken")

    reads = Reads(1, LONG)
    with pytest.raises(ValueError, match="broken"):
        await reads.receive("a", broken)
    await at_once(reads)


async def test_a_call_of_a_grpc_whose_tasks_are_not_known_is_ended_and_that_is_logged() -> None:
    unknown = asyncio.create_task(asyncio.Event().wait())
    with logged() as log:
        drop(unknown)
    await asyncio.wait([unknown])
    assert unknown.cancelled()
    assert log.events == ["grpc_calls_kept"]
