"""Two gateways on a real Redis."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from clipserve.access.shared_rate_counter import shared_rate_counter
from clipserve.telemetry.metrics import Metrics
from loadtests.fake_backend import FakeBackend
from tests.access.support import bearer, write_keys
from tests.access.test_rates import ITEM
from tests.support.logs import logged
from tests.support.redis_server import PASSWORD, RedisServer
from tests.support.service import DIM, Running, serving, write_toy_artifact

PAUSE = 2.0  # seconds in which a Redis that has failed is not asked


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


@asynccontextmanager
async def gateways(
    tmp_path: Path, redis: RedisServer, rows: int, seconds: int, **constants: float
) -> AsyncIterator[tuple[Running, Running]]:
    """Two on one Redis, and their clients with the same key. A busy machine is no Redis that is away."""
    await redis.answers()
    toy = await write_toy_artifact(tmp_path / "toy")
    key = write_keys(tmp_path / "keys", camera={"rows_per_second": rows})["camera"]
    settings: dict[str, Any] = {
        "keys_file": tmp_path / "keys",
        "rate_window_seconds": seconds,
        "redis_url": redis.url,
        "redis_seconds": 60.0,
    }
    settings |= constants
    async with (
        serving(FakeBackend(DIM), toy, **settings) as one,
        serving(FakeBackend(DIM), toy, **settings) as other,
    ):
        for running in (one, other):
            running.client.headers.update(bearer(key))
        yield one, other


async def embed(running: Running) -> int:
    return (await running.client.post("/embed", json={"texts": ["a"]})).status_code


@dataclass
class Granted:
    """Rows that were let through, and when each answer came, of the monotonic clock."""

    rows: int = 0
    answered: list[float] = field(default_factory=list)

    async def ask_until(self, running: Running, until: float) -> float:
        """Ask one gateway all the time until then, and on to a refusal; when that one was asked for."""
        while True:
            asked = time.monotonic()
            status = await embed(running)
            self.answered.append(time.monotonic())
            if status == 429:
                if asked >= until:
                    return asked
                await asyncio.sleep(0.002)
            else:
                assert status == 200
                self.rows += 1

    def idle(self) -> float:
        """Seconds in which nobody asked, as on a machine that pauses: the rows of those may be lost."""
        gaps = (later - earlier for earlier, later in pairwise(self.answered))
        return sum(gap for gap in gaps if gap > 0.02)


async def test_two_gateways_on_one_redis_let_through_the_rate_of_one(
    tmp_path: Path, redis: RedisServer
) -> None:
    seconds, rate = 5, 20  # a busy machine can ask for more than so many
    async with gateways(tmp_path, redis, rate, 1) as pair:
        granted, began = Granted(), time.monotonic()
        ends = await asyncio.gather(*(granted.ask_until(running, began + seconds) for running in pair))
        longest = time.monotonic() - began
    # The first window counts as one second, used or not: the rate is that from the end of a burst on.
    assert granted.rows <= rate * longest + 2
    # Each second may lose the part of a row.
    assert granted.rows >= rate * (max(ends) - granted.answered[0] - granted.idle()) - seconds - 2


async def test_what_one_gateway_has_let_through_counts_at_the_other(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with gateways(tmp_path, redis, 1, 3600) as (one, other):
        texts = {"texts": ["a"] * 256}
        statuses = []
        for i in range(18):
            running = (one, other)[i % 2]
            statuses.append((await running.client.post("/embed", json=texts)).status_code)
        # The next 240 rows take four minutes.
        assert statuses == [200] * 14 + [429] * 4, "3,600 rows are 14 times 256"


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_redis_that_goes_away_holds_nobody_up_and_is_used_again_when_it_is_back(
    tmp_path: Path, redis: RedisServer, how: str
) -> None:
    async with gateways(tmp_path, redis, 1_000_000, 1, redis_seconds=1) as pair:
        began = time.monotonic()
        for running in pair:
            assert await embed(running) == 200
        redis.kill() if how == "killed" else redis.popen.send_signal(signal.SIGSTOP)
        for _ in range(50):
            for running in pair:
                async with asyncio.timeout(60):  # as one that waited for Redis would
                    assert await embed(running) == 200
        for running in pair:
            assert 1 <= (failures(running) or 0) <= 1 + (time.monotonic() - began) / PAUSE, "one in a pause"
        redis.start() if how == "killed" else redis.popen.send_signal(signal.SIGCONT)
        await redis.answers()
        async with asyncio.timeout(300):
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
    with logged() as log:
        async with shared_rate_counter(wrong, metrics, answer_seconds=60) as counter:
            assert await counter.take(ITEM, "a", 10) is None
            assert await counter.take(ITEM, "a", 10), "counted here"
    assert metrics.registry.get_sample_value("clipserve_redis_failures_total")
    assert log.events == ["redis_lost"]
    assert "another-one" not in log.getvalue()


async def test_what_is_kept_in_redis_names_no_key(tmp_path: Path, redis: RedisServer) -> None:
    async with gateways(tmp_path, redis, 10, 10) as (one, _):
        assert await embed(one) == 200
        listed = redis.ask("KEYS", "*")
    assert "clipserve:" in listed
    assert "camera" not in listed
