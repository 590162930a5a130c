"""Clients that hold what they do not use: connections, and room for bodies."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import pytest

from tests.abuse.attack import Act, Piece, good
from tests.abuse.crowd import crowd
from tests.abuse.measure import resident
from tests.abuse.scenario import good_clients, seen_for
from tests.abuse.victim import Victim
from tests.abuse.wire import Connection, play

CONNECTIONS = 5_000
BODIES, BODY_BYTES = 13, 19_900_000  # together a little more than CLIPSERVE_MAX_IN_FLIGHT_BYTES
SECONDS = 20.0


@pytest.fixture
def alone() -> Iterator[Victim]:
    """A victim of its own, that may open many files."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 2 * CONNECTIONS:
        pytest.skip(f"the limit of open files is {hard}")
    victim = Victim(backend="onnx")
    yield victim
    assert victim.close() == 0


def test_five_thousand_connections_hold_up_nobody_and_leave_no_memory_behind(alone: Victim) -> None:
    before = resident(alone.pid)
    with good_clients(alone.address, 1) as clients:
        usual = seen_for(clients, SECONDS)
        with crowd(alone.address, CONNECTIONS, "127.0.0.2", "127.0.0.3") as process:
            assert process.stdout is not None
            process.stdout.readline()  # it is there
            started = time.monotonic()
            crowded = seen_for(clients, SECONDS)
            probes = alone.prober.between(started, time.monotonic())
    assert [probe for probe in probes if probe.status != 200] == [], "a probe of /livez failed"
    assert crowded.statuses.keys() == {200}
    assert crowded.p99 < max(3 * usual.p99, 1.0), f"{crowded.p99:.2f} s instead of {usual.p99:.2f} s"
    alone.rest()
    time.sleep(2)  # the last ones are let go
    assert resident(alone.pid) - before < 60_000_000


def withheld() -> list[Piece]:
    """A body without its last byte."""
    head = b"POST /embed HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
    return [head % BODY_BYTES, b"x" * (BODY_BYTES - 1)]


def test_bodies_of_which_the_last_byte_is_withheld_refuse_nobody_else(alone: Victim) -> None:
    connections = [Connection(alone.address, "127.0.0.2") for _ in range(BODIES)]
    try:
        for connection in connections:
            for piece in withheld():
                assert isinstance(piece, bytes)
                connection.send(piece, time.monotonic() + 10)
        for _ in range(20):
            answers = play(alone.address, [good(1_200, 900)]).answers
            assert [answer.status for answer in answers] == [200]
            time.sleep(0.1)
    finally:
        for connection in connections:
            connection.act(Act.RESET)
