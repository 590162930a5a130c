"""Which connection is closed when there are too many."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from clipserve.connections import ConnectionLimits
from clipserve.errors import TooManyConnections
from clipserve.rest.protocol import Connections, Phase
from clipserve.telemetry.metrics import Metrics
from tests.rest.wire import Line

LIMITS = ConnectionLimits(
    max_connections=4,
    max_header_bytes=1_000,
    first_byte_timeout_seconds=1,
    header_timeout_seconds=1,
    keep_alive_seconds=1,
    write_timeout_seconds=1,
)


class _Member:
    def __init__(self, address: str, phase: Phase, since: float, untaken: int) -> None:
        self.address = address
        self.phase = phase
        self.since = since
        self.proxied = False
        self.transport = Line()
        self.checked = 0
        self.is_idle = phase is Phase.IDLE and not untaken

    @property
    def aborted(self) -> bool:
        return self.transport.aborted

    def check(self, now: float) -> None:
        self.checked += 1


def fake_member(address: str, phase: Phase = Phase.WORKING, since: float = 0.0, untaken: int = 0) -> Any:
    """What stands for a `Protocol`."""
    return _Member(address, phase, since, untaken)


def full(*members: Any, shares_address: bool = True) -> Connections:
    connections = Connections(LIMITS, Metrics(), shares_address=shares_address)
    for member in members:
        connections.admit(member)
    return connections


def closed_for(newcomer: Any, *members: Any) -> list[Any]:
    """Those closed so that the newcomer could come."""
    connections = full(*members)
    before = len(connections.connections)
    connections.admit(newcomer)
    gone = [member for member in members if member.aborted]
    assert len(connections.connections) == before + 1 - len(gone)
    return gone


def test_while_there_is_room_no_connection_is_closed_for_another() -> None:
    assert (
        closed_for(
            fake_member("a"), fake_member("a", Phase.IDLE), fake_member("a", Phase.IDLE), fake_member("b")
        )
        == []
    )


def test_of_the_idle_the_one_that_has_been_so_longest_makes_room() -> None:
    long, short = fake_member("a", Phase.IDLE, 1.0), fake_member("a", Phase.IDLE, 2.0)
    assert closed_for(fake_member("a"), fake_member("a"), short, long, fake_member("a")) == [long]


def test_an_idle_one_of_the_address_that_has_most_goes_first() -> None:
    lone, of_many = fake_member("a", Phase.IDLE, 1.0), fake_member("b", Phase.IDLE, 9.0)
    assert closed_for(fake_member("c"), lone, of_many, fake_member("b"), fake_member("b")) == [of_many]
    assert closed_for(fake_member("c"), lone, fake_member("b"), fake_member("b"), fake_member("b")) == [lone]


def test_an_address_that_has_most_takes_the_place_of_its_own_only() -> None:
    lone, own = fake_member("a", Phase.IDLE, 1.0), fake_member("b", Phase.IDLE, 9.0)
    assert closed_for(fake_member("b"), lone, own, fake_member("b"), fake_member("b")) == [own]
    connections = full(lone, fake_member("b", Phase.BODY), fake_member("b"), fake_member("b"))
    with pytest.raises(TooManyConnections):
        connections.admit(fake_member("b"))
    assert not lone.aborted


@pytest.mark.parametrize("phase", [Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.ENDING])
def test_an_address_that_has_fewer_takes_the_place_of_one_that_is_not_at_work(phase: Phase) -> None:
    slow = fake_member("b", phase, untaken=1)
    assert closed_for(fake_member("a"), fake_member("b"), slow, fake_member("b"), fake_member("a")) == [slow]


def test_an_idle_one_is_given_up_before_one_that_has_begun() -> None:
    begun, idle = fake_member("b", Phase.BODY, 1.0), fake_member("b", Phase.IDLE, 9.0)
    assert closed_for(fake_member("a"), fake_member("b"), begun, idle, fake_member("a")) == [idle]


@pytest.mark.parametrize("newcomer", ["a", "b"])
def test_an_address_that_has_as_many_is_refused(newcomer: str) -> None:
    members = [fake_member("a"), fake_member("a", Phase.BODY), fake_member("b"), fake_member("b", Phase.BODY)]
    connections = full(*members)
    with pytest.raises(
        TooManyConnections, match="there are 4 connections, 2 of them from your address"
    ) as caught:
        connections.admit(fake_member(newcomer))
    assert (caught.value.limit, caught.value.actual) == (4, 4)
    assert not any(member.aborted for member in members)
    assert len(connections.connections) == 4


@pytest.mark.parametrize("phase", Phase)
def test_an_address_leaves_half_of_the_connections_to_others_whatever_its_own_do(phase: Phase) -> None:
    own = [fake_member("a", phase, 1.0), fake_member("a", phase, 2.0)]
    connections = full(*own, shares_address=False)
    if phase is Phase.IDLE:
        connections.admit(fake_member("a"))
        assert [member.aborted for member in own] == [True, False]
    else:
        with pytest.raises(TooManyConnections, match="there are 2 connections, 2 of them from your address"):
            connections.admit(fake_member("a"))
    connections.admit(fake_member("b"))
    connections.admit(fake_member("b"))
    assert len(connections.connections) == 4


def test_a_connection_at_work_is_never_closed_for_another() -> None:
    connections = full(*(fake_member("a") for _ in range(4)))
    with pytest.raises(TooManyConnections):
        connections.admit(fake_member("b"))


def test_a_connection_is_left_to_an_address_where_there_is_only_one() -> None:
    Connections(replace(LIMITS, max_connections=1), Metrics()).admit(fake_member("a"))


async def test_each_connection_is_looked_at_again_and_again() -> None:
    member = fake_member("a")
    connections = full(member)
    watching = asyncio.create_task(connections.watch())
    async with asyncio.timeout(60):
        while member.checked < 2:
            await asyncio.sleep(0.01)
    watching.cancel()
