"""Rates that several gateways share through Redis, and that each counts by itself while Redis does not answer.

Calls to Redis have a short timeout, and after a failure there are none for a pause. Meanwhile each gateway allows
the whole rate, so n gateways allow up to n times a rate: refusing everybody because Redis is missing would be
worse. After the pause one request calls Redis again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from limits import RateLimitItem
from limits.aio.storage.redis import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from clipserve.access.rate_counter import REDIS_SECONDS, LocalRateCounter, RateCounter, seconds_until
from clipserve.redis_pool import redis_pool
from clipserve.telemetry.log import logger
from clipserve.telemetry.metrics import Metrics

Take = Callable[[RateLimitItem, str, int], Awaitable[float | None]]  # `RateCounter.take`


@asynccontextmanager
async def shared_rate_counter(
    redis_url: str, metrics: Metrics, answer_seconds: float = REDIS_SECONDS
) -> AsyncIterator[RateCounter]:
    """The counter that all gateways on this Redis share, by the library `limits`.

    `redis_url`: redis:// or rediss://, which may contain a password. `answer_seconds`: see `SharedRateCounter`.
    """
    pool = redis_pool(redis_url, connect_seconds=answer_seconds, answer_seconds=answer_seconds)
    options: dict[str, Any] = {"key_prefix": "clipserve", "connection_pool": pool}
    storage = RedisStorage("async+redis://", implementation="redispy", **options)
    limiter = SlidingWindowCounterRateLimiter(storage)

    async def take(item: RateLimitItem, name: str, cost: int) -> float | None:
        if await limiter.hit(item, name, cost=cost):
            return None
        window = await storage.get_sliding_window(item.key_for(name), item.get_expiry())
        return seconds_until(item.amount - cost, item.get_expiry(), window)

    try:
        yield SharedRateCounter(take, metrics, answer_seconds)
    finally:
        await pool.aclose()


class SharedRateCounter:
    """`RateCounter` in Redis, or in this process while Redis does not answer."""

    def __init__(
        self,
        shared: Take,
        metrics: Metrics,
        answer_seconds: float = REDIS_SECONDS,
        pause_seconds: float = 2.0,
    ) -> None:
        """`answer_seconds`: for an answer of Redis. `pause_seconds`: after a failure, until it is asked again."""
        self._shared, self._local = shared, LocalRateCounter()
        self._metrics = metrics
        self._answer_seconds, self._pause_seconds = answer_seconds, pause_seconds
        self._lost, self._ask_at = False, 0.0

    async def take(self, item: RateLimitItem, name: str, cost: int) -> float | None:
        if self._lost and not self._time_to_ask():
            return await self._local.take(item, name, cost)
        try:
            async with asyncio.timeout(self._answer_seconds):
                seconds = await self._shared(item, name, cost)
        except Exception as error:  # a malformed answer has no common exception
            self._fail(type(error).__name__)
            return await self._local.take(item, name, cost)
        if self._lost:
            self._lost = False
            logger.info("redis_back")
        return seconds

    def _time_to_ask(self) -> bool:
        now = time.monotonic()
        if now < self._ask_at:
            return False
        self._ask_at = now + self._pause_seconds
        return True

    def _fail(self, error: str) -> None:
        self._metrics.redis_failures.inc()
        self._ask_at = time.monotonic() + self._pause_seconds
        if not self._lost:
            self._lost = True
            hint = "each gateway counts rates by itself until it is back"
            logger.warning("redis_lost", error=error, hint=hint)
