"""Which connection is closed when there are too many."""

from __future__ import annotations

import asyncio
import re
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


# Who comes; who is there, in which phase (at work, where none is said) and since when; and who of them is closed.
@pytest.mark.parametrize(
    ("newcomer", "there", "closed"),
    [
        pytest.param("a", "a idle, a idle, b", "nobody", id="while there is room nobody"),
        pytest.param("a", "a, a idle 2, a idle 1, a", "a idle 1", id="the one that is idle longest"),
        pytest.param("c", "a idle 1, b idle 9, b, b", "b idle 9", id="an idle one of who has most first"),
        pytest.param("c", "a idle 1, b, b, b", "a idle 1", id="an idle one, where who has most has none"),
        pytest.param("b", "a idle 1, b idle 9, b, b", "b idle 9", id="who has most gives its own"),
        pytest.param("b", "a idle 1, b body, b, b", "refused", id="who has most does not take another's"),
        pytest.param("a", "b, b head, b, a", "b head", id="who has fewer takes one that has begun"),
        pytest.param("a", "b, b body, b, a", "b body", id="who has fewer takes one whose body comes"),
        pytest.param("a", "b, b ending, b, a", "b ending", id="who has fewer takes one that ends"),
        pytest.param("a", "b, b body 1, b idle 9, a", "b idle 9", id="an idle one before one that has begun"),
        pytest.param("a", "a, a body, b, b body", "refused", id="who has as many as others"),
        pytest.param("b", "a, a, a, a", "refused", id="all are at work"),
    ],
)
def test_who_makes_room_for_a_newcomer(newcomer: str, there: str, closed: str) -> None:
    members = []
    for each in there.split(", "):
        address, *words = each.split()
        phase = Phase[words[0].upper()] if words else Phase.WORKING
        since = float(words[1]) if len(words) > 1 else 0.0
        members.append(fake_member(address, phase, since))
    connections = full(*members)
    if closed == "refused":
        own = len(re.findall(rf"\b{newcomer}\b", there))
        with pytest.raises(TooManyConnections, match=f"4 connections, {own} of them from your") as caught:
            connections.admit(fake_member(newcomer))
        assert (caught.value.limit, caught.value.actual) == (4, 4)
    else:
        connections.admit(fake_member(newcomer))
        assert len(connections.connections) == 4
    gone = [each for each, member in zip(there.split(", "), members, strict=True) if member.aborted]
    assert gone == ([closed] if closed in there else [])


def test_one_that_takes_its_answer_is_not_idle() -> None:
    slow = fake_member("b", Phase.IDLE, untaken=1)
    with pytest.raises(TooManyConnections):
        full(slow, fake_member("b"), fake_member("b"), fake_member("a")).admit(fake_member("b"))
    assert not slow.aborted


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
