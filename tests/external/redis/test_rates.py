"""Two gateways on a real Redis."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from clipserve.access.shared_rate_counter import shared_rate_counter
from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.access.support import bearer, write_keys
from tests.access.test_shared_rate_counter import ITEM
from tests.redis_server import PASSWORD, RedisServer
from tests.support import DIM, Running, serving, write_toy_artifact

PAUSE = 2.0  # seconds in which a Redis that has failed is not asked


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


@asynccontextmanager
async def gateways(
    tmp_path: Path, redis: RedisServer, rows: int, seconds: int
) -> AsyncIterator[tuple[Running, Running]]:
    """Two on one Redis, and their clients with the same key."""
    await redis.answers()
    toy = await write_toy_artifact(tmp_path / "toy")
    key = write_keys(tmp_path / "keys", camera={"rows_per_second": rows})["camera"]
    settings: dict[str, Any] = {
        "keys_file": tmp_path / "keys",
        "rate_window_seconds": seconds,
        "redis_url": redis.url,
    }
    async with (
        serving(FakeBackend(DIM), toy, **settings) as one,
        serving(FakeBackend(DIM), toy, **settings) as other,
    ):
        for running in (one, other):
            running.client.headers.update(bearer(key))
        yield one, other


async def embed(running: Running) -> int:
    return (await running.client.post("/embed", json={"texts": ["a"]})).status_code


async def granted(running: Running, until: float) -> int:
    """Rows that one gateway lets through, asked all the time."""
    rows = 0
    while time.monotonic() < until:
        status = await embed(running)
        assert status in (200, 429)
        rows += status == 200
        await asyncio.sleep(0.002 if status == 429 else 0)
    return rows


async def test_two_gateways_on_one_redis_let_through_the_rate_of_one(
    tmp_path: Path, redis: RedisServer
) -> None:
    seconds, rate = 5, 20  # a busy machine can ask for more than so many
    async with gateways(tmp_path, redis, rate, 1) as pair:
        # The first window counts as one second, used or not: the rate is that from the end of a burst on.
        until = time.monotonic() + seconds
        rows = sum(await asyncio.gather(*(granted(running, until) for running in pair)))
    assert rows == pytest.approx(rate * seconds, rel=0.05)


async def test_what_one_gateway_has_let_through_counts_at_the_other(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with gateways(tmp_path, redis, 1, 3600) as (one, other):
        texts = {"texts": ["a"] * 64}
        statuses = []
        for i in range(60):
            running = (one, other)[i % 2]
            statuses.append((await running.client.post("/embed", json=texts)).status_code)
        assert statuses == [200] * 56 + [429] * 4, "3,600 rows are 56 times 64"


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_redis_that_goes_away_holds_nobody_up_and_is_used_again_when_it_is_back(
    tmp_path: Path, redis: RedisServer, how: str
) -> None:
    async with gateways(tmp_path, redis, 1_000_000, 1) as pair:
        for running in pair:
            assert await embed(running) == 200
        redis.kill() if how == "killed" else redis.popen.send_signal(signal.SIGSTOP)
        longest, gone = 0.0, time.monotonic()
        for _ in range(50):
            for running in pair:
                begun = time.monotonic()
                assert await embed(running) == 200
                longest = max(longest, time.monotonic() - begun)
        assert longest < 2.5, "seconds; a quarter of one is the limit for an answer of Redis"
        for running in pair:
            assert 1 <= (failures(running) or 0) <= 1 + (time.monotonic() - gone) / PAUSE, "one in a pause"
        redis.start() if how == "killed" else redis.popen.send_signal(signal.SIGCONT)
        await redis.answers()
        async with asyncio.timeout(30):
            for running in pair:
                before = -1.0
                while before != (before := failures(running) or 0.0):
                    await asyncio.sleep(PAUSE + 0.1)
                    assert await embed(running) == 200


def failures(running: Running) -> float | None:
    return running.gateway.metrics.registry.get_sample_value("clipserve_redis_failures_total")


async def test_a_wrong_password_is_a_failure_like_any_other_and_is_not_logged(redis: RedisServer) -> None:
    await redis.answers()
    metrics = Metrics()
    wrong = redis.url.replace(PASSWORD, "another-one")
    async with shared_rate_counter(wrong, metrics) as counter:
        assert await counter.take(ITEM, "a", 10) is None
        assert await counter.take(ITEM, "a", 10), "counted here"
    assert metrics.registry.get_sample_value("clipserve_redis_failures_total") == 1


async def test_what_is_kept_in_redis_names_no_key(tmp_path: Path, redis: RedisServer) -> None:
    async with gateways(tmp_path, redis, 10, 10) as (one, _):
        assert await embed(one) == 200
        listed = redis.ask("KEYS", "*")
    assert "clipserve:" in listed
    assert "camera" not in listed
