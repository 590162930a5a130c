"""Messages are read in places, of which one caller has half, and which are given up when others wait."""

from __future__ import annotations

import asyncio

import pytest

from clipserve.errors import BodyTooSlow, Overloaded
from clipserve.rpc import reads as module
from clipserve.rpc.reads import Reads

LONG = 600.0  # seconds that no test waits for


class Sender:
    """A client whose message is whole when it says so."""

    def __init__(self) -> None:
        self.whole, self.begun, self.ended = asyncio.Event(), False, False

    async def receive(self) -> bytes:
        self.begun = True
        try:
            await self.whole.wait()
        finally:
            self.ended = True
        return b"message"


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def reading(reads: Reads, sender: Sender, caller: str = "a") -> asyncio.Task[bytes]:
    return asyncio.create_task(reads.receive(caller, sender.receive))


async def at_once(reads: Reads, caller: str = "z") -> None:
    """Read a message that is there: a place is free."""
    sender = Sender()
    sender.whole.set()
    assert await asyncio.wait_for(reads.receive(caller, sender.receive), 60) == b"message"


async def ended(*tasks: asyncio.Task[bytes]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("shares_address", "callers", "most"),
    [
        pytest.param(False, "abcde", 4, id="as many as there are places"),
        pytest.param(False, "aaaaa", 2, id="half of them for one caller"),
        pytest.param(True, "aaaaa", 4, id="all for a proxy of all callers"),
    ],
)
async def test_no_more_is_read_at_a_time_than_may_be(shares_address: bool, callers: str, most: int) -> None:
    reads = Reads(4, LONG, shares_address=shares_address)
    senders = [Sender() for _ in callers]
    tasks = [reading(reads, sender, caller) for sender, caller in zip(senders, callers, strict=True)]
    await settle()
    assert [sender.begun for sender in senders] == [True] * most + [False] * (5 - most)
    senders[0].whole.set()
    assert await tasks[0] == b"message"
    await settle()
    assert senders[most].begun
    await ended(*tasks)


async def test_a_message_that_is_not_whole_in_time_is_too_slow_and_its_read_ends_by_itself() -> None:
    reads, slow = Reads(1, 0.05), Sender()
    with pytest.raises(BodyTooSlow, match=r"not whole within 0\.0\d+ s"):
        await reads.receive("a", slow.receive)
    await at_once(reads)  # its place is free again
    assert not slow.ended
    slow.whole.set()
    await settle()
    assert slow.ended


async def test_a_long_read_gives_its_place_up_when_another_waits_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_CROWDED_SECONDS", 0.05)  # it is 2
    reads = Reads(1, LONG)
    first = reading(reads, Sender())
    await asyncio.sleep(0.2)
    assert not first.done()
    await at_once(reads, "b")
    with pytest.raises(BodyTooSlow, match="if others wait"):
        await first


async def test_who_gets_no_place_in_time_is_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CROWDED_SECONDS", LONG)  # the other bound is tested
    reads = Reads(1, 0.1)
    tasks = [reading(reads, Sender()) for _ in range(10)]
    # The first is too slow; few of the others can have its place before their own time is over.
    *_, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(last, Overloaded)
    assert last.retry_after == 1
    await at_once(reads)
