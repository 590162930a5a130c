"""Clients that hold connections that they do not use."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import pytest

from tests.abuse.crowd import crowd
from tests.abuse.measure import resident
from tests.abuse.scenario import good_clients, seen_for
from tests.abuse.victim import Victim

CONNECTIONS = 5_000
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
