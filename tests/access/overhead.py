"""`python -m tests.access.overhead [redis://...]`: microseconds of a request that the gate takes."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator

import uvloop
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from clipserve.access.gate import Gate, RateOptions, Rates
from clipserve.access.keys import Keys
from clipserve.access.rate_counter import LocalRateCounter, RateCounter, Refusal
from clipserve.access.shared_rate_counter import shared_rate_counter
from clipserve.telemetry.metrics import Metrics
from clipserve.telemetry.request import RequestContext, enter
from tests.access.support import made

_REQUESTS = 2_000
_ROUNDS = 7
_LIMIT = 10**8


async def microseconds_of_nothing() -> float:
    """Of the loop itself."""
    begun = time.perf_counter()
    for _ in range(_REQUESTS):
        await asyncio.sleep(0)
    return (time.perf_counter() - begun) / _REQUESTS * 1e6


async def microseconds(gate: Gate, header: str | None) -> float:
    """Of a request, the median of some rounds: the door, a body and a row, and what the loop does for them."""
    rounds = []
    enter(RequestContext("id"))
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        for _ in range(_REQUESTS):
            await gate.enter(header, "use")
            await gate.charge(size=100_000)
            await gate.charge(rows=1)
            await asyncio.sleep(0)
        rounds.append((time.perf_counter() - begun) / _REQUESTS * 1e6)
    return statistics.median(rounds)


def keyed(count: int, rows: int, size: int, counter: RateCounter) -> tuple[Gate, str]:
    """A gate with so many keys, and the header of one."""
    pairs = [made(f"key-{i}") for i in range(count)]
    rates = Rates(RateOptions(rows, size, 10), counter)
    return Gate(Keys(kept for _, kept in pairs), rates), f"Bearer {pairs[0][0]}"


def gates() -> Iterator[tuple[str, Gate, str | None]]:
    yield "no keys", Gate(), None
    for count in (1, 10, 100, 1_000):
        yield f"{count:,} keys, no rates", *keyed(count, 0, 0, LocalRateCounter())
        yield f"{count:,} keys, rows and bytes a second", *keyed(count, _LIMIT, 10**12, LocalRateCounter())


class LibraryRateCounter:
    """What `LocalRateCounter` does, by the storage in memory of `limits`."""

    def __init__(self) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def take(self, item: RateLimitItem, name: str, cost: int) -> Refusal | None:
        assert await self._limiter.hit(item, name, cost=cost)
        return None


async def by_the_library(names: int) -> float:
    """With so many other names that have been counted."""
    counter, item = LibraryRateCounter(), RateLimitItemPerSecond(1, 3600)
    for i in range(names):
        await counter.take(item, str(i), 1)
    return await microseconds(*keyed(10, _LIMIT, 10**12, counter))


async def main(redis_url: str | None) -> None:
    print("| gate | microseconds a request |\n| --- | --: |")
    bare = min([await microseconds_of_nothing() for _ in range(_ROUNDS)])
    for name, gate, header in gates():
        print(f"| {name} | {await microseconds(gate, header) - bare:.1f} |")
    for names in (0, 1_000):
        seconds = await by_the_library(names) - bare
        print(f"| 10 keys, rows and bytes a second, by limits beside {names:,} names | {seconds:.1f} |")
    if redis_url:
        metrics = Metrics()
        async with shared_rate_counter(redis_url, metrics) as counter:
            seconds = await microseconds(*keyed(10, _LIMIT, 10**12, counter))
        assert not metrics.registry.get_sample_value("clipserve_redis_failures_total")
        print(f"| 10 keys, rows and bytes a second, through Redis, waiting included | {seconds - bare:.1f} |")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
