"""Which of several Triton servers gets a call, and how servers come and go."""

from __future__ import annotations

import asyncio

from clipserve.engine.triton.address import Address
from tests.support.logs import Log
from tests.support.waiting import until
from tests.triton.backends import STOPPING, backend_on, sent
from tests.triton.stand_in import StandIn


async def test_equal_servers_take_turns(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        answers = [await backend.server_of() for _ in range(6)]
    assert answers in ([1, 2, 1, 2, 1, 2], [2, 1, 2, 1, 2, 1])


async def test_the_server_that_owes_the_fewest_rows_gets_the_next_call(one: StandIn, two: StandIn) -> None:
    async with backend_on(one, two) as backend:
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of(8))
        await until(lambda: asking.done() or bool(one.calls))
        if not one.calls:  # the other's turn was first
            asking = asyncio.create_task(backend.server_of(8))
            await sent(one, 1)
        answers = [await backend.server_of(rows) for rows in (1, 7, 5)]
        assert answers == [2, 2, 2]
        labels = {"endpoint": one.url}
        assert backend.counted.registry.get_sample_value("clipserve_triton_endpoint_rows", labels) == 8
        one.answering.set()
        await asking
        timed = labels | {"tower": "text"}
        assert (
            backend.counted.registry.get_sample_value("clipserve_triton_endpoint_seconds_count", timed) == 1
        )


async def test_a_call_made_for_a_larger_limit_is_not_sent_to_a_server_that_takes_less(
    one: StandIn, two: StandIn
) -> None:
    async with backend_on(one, two) as backend:
        two.ready = False
        await until(lambda: not backend.up(two.url))
        for model in two.models.values():
            model.max_batch_size = 3
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of(8))
        await sent(one, 1)
        two.ready = True
        await until(lambda: bool(backend.up(two.url)))
        one.failure = STOPPING  # of the next call
        one.answering.set()
        assert await asking == 1
        assert two.calls == []


class Names:
    """What a name server says: at first nothing."""

    def __init__(self) -> None:
        self.servers: list[str] = []
        self.asked = 0

    async def look_up(self, address: Address) -> list[str]:
        assert address == Address("triton", 8001)
        self.asked += 1
        if not self.servers:
            raise OSError(-2, "Name or service not known")
        return self.servers

    async def tell(self, *servers: StandIn) -> None:
        """Say so, and wait until it was asked for again."""
        self.servers, asked = [server.url for server in servers], self.asked
        await until(lambda: self.asked >= asked + 3)


async def test_a_name_is_looked_up_again_and_its_servers_come_and_go(
    one: StandIn, two: StandIn, written: Log
) -> None:
    names = Names()
    telling = asyncio.create_task(names.tell(one))
    async with backend_on(urls=["triton:8001"], look_up=names.look_up) as backend:
        await telling
        assert await backend.server_of() == 1
        await names.tell(one, two)
        await until(lambda: bool(backend.up(two.url)))
        assert {await backend.server_of(), await backend.server_of()} == {1, 2}
        await names.tell()
        assert {await backend.server_of(), await backend.server_of()} == {1, 2}, "nobody knows; they stay"
        await names.tell(two)
        await until(lambda: backend.up(one.url) is None)
        assert await backend.server_of() == 2
        exposed = [sample for family in backend.counted.registry.collect() for sample in family.samples]
        assert not [sample for sample in exposed if one.url in sample.labels.values()]
        await names.tell()
        lines = written.getvalue()
        assert lines.count("it cannot be looked up") == 2, "once each time"
        assert lines.count('"endpoints"') == 3, "when they change"


async def test_a_server_that_its_name_has_lost_serves_until_another_is_ready(
    one: StandIn, two: StandIn
) -> None:
    names = Names()
    names.servers, two.ready = [one.url], False
    async with backend_on(one, urls=["triton:8001"], look_up=names.look_up) as backend:
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of())
        await sent(one, 1)
        one.answering.set()
        await names.tell(two)
        assert await asking == 1
        assert await backend.server_of() == 1
        two.ready = True
        await until(lambda: backend.up(one.url) is None)
        assert await backend.server_of() == 2


async def test_a_call_in_flight_ends_before_its_server_is_let_go(one: StandIn, two: StandIn) -> None:
    names = Names()
    names.servers = [one.url]
    async with backend_on(one, urls=["triton:8001"], look_up=names.look_up) as backend:
        one.watched.clear()
        one.answering.clear()
        asking = asyncio.create_task(backend.server_of())
        await sent(one, 1)
        names.servers = [two.url]
        await until(lambda: bool(backend.up(two.url)))
        one.answering.set()
        assert await asking == 1
        await until(lambda: backend.up(one.url) is None)
