"""All streams that a client can open without a key, held: health, reflection, half-sent requests of both fronts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.abuse.crowd import crowd
from tests.abuse.measure import Peak
from tests.abuse.probe import percentile
from tests.abuse.scenario import good_clients, seen_for
from tests.abuse.victim import Victim

SECONDS = float(os.environ.get("ABUSE_SECONDS", "15"))
SOURCES = ("127.0.0.2", "127.0.0.3")
CONNECTIONS = 400  # of REST, together
SUM = 2_100_000_000  # of docs/production.md
MOST_LIVEZ_SECONDS = 0.1


@contextmanager
def streams(victim: Victim, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "tests.abuse.streams",
        victim.process.rpc_address,
        str(seconds),
        *SOURCES,
    ]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def check_health(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=20).status)


@pytest.fixture
def victim() -> Iterator[Victim]:
    """One of its own, whose memory nobody else has filled."""
    victim = Victim(backend="onnx")
    yield victim
    assert victim.close() == 0


def test_streams_that_are_held_open_without_a_key_hold_up_nobody_and_stay_within_the_memory(
    victim: Victim,
) -> None:
    with good_clients(victim.address, 1) as clients:
        usual = seen_for(clients, SECONDS)
        with (
            Peak(victim.pid) as peak,
            crowd(victim.address, CONNECTIONS, *SOURCES),
            streams(victim, 2 * SECONDS) as hostile,
        ):
            time.sleep(3)  # they are there
            started = time.monotonic()
            beside = seen_for(clients, SECONDS)
            livez = victim.prober.between(started, time.monotonic())
            health = check_health(victim.process.rpc_address)
            assert hostile.poll() is None, "they were held until now"
    livez_p99 = percentile([probe.seconds for probe in livez])
    print(f"{peak.before / 1e6:.0f} to {peak.bytes / 1e6:.0f} MB, /livez {livez_p99:.3f} s")
    print(f"photos {usual.p99:.3f} s, beside them {beside.p99:.3f} s")
    assert peak.bytes < SUM
    assert {probe.status for probe in livez} == {200}
    assert livez_p99 < MOST_LIVEZ_SECONDS, f"/livez took {livez_p99 * 1000:.0f} ms"
    assert beside.statuses.keys() == {200}
    assert beside.p99 < 3 * usual.p99, f"{beside.p99:.2f} s instead of {usual.p99:.2f} s"
    assert health == health_pb2.HealthCheckResponse.SERVING
