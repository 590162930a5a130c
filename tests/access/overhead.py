"""`python -m tests.access.overhead`: microseconds of a request that the gate takes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

import uvloop
from limits.aio.storage import MemoryStorage

from service.access.gate import Gate, OpenGate
from service.access.keyed_gate import KeyedGate
from service.access.keys import Key, Keys
from service.access.rates import RateOptions, Rates
from service.access.windows import StoredWindows
from service.telemetry.request import RequestContext, enter
from tests.access.support import made

_REQUESTS = 5_000
_ROUNDS = 7
_LIMIT = 10**8


async def microseconds(gate: Gate, header: str | None) -> float:
    """Of a request, the median of some rounds: the door, a body and a row. The loop's own work is part of it."""
    rounds = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        for _ in range(_REQUESTS):
            enter(RequestContext("id"))
            await gate.enter(header, "use")
            await gate.charge(size=100_000)
            await gate.charge(rows=1)
        await asyncio.sleep(0)
        rounds.append((time.perf_counter() - begun) / _REQUESTS * 1e6)
    return statistics.median(rounds)


def gates() -> Iterator[tuple[str, Gate, str | None]]:
    yield "no keys", OpenGate(), None
    for count in (1, 10, 100, 1_000):
        for name, options in (
            ("no rates", RateOptions(0, 0, 10)),
            ("rows a second", RateOptions(_LIMIT, 0, 10)),
            ("rows and bytes a second", RateOptions(_LIMIT, 10**12, 10)),
        ):
            pairs = [made(f"key-{i}") for i in range(count)]
            key, kept = pairs[0]
            keys: list[Key] = [kept, *(other for _, other in pairs[1:])]
            gate = KeyedGate(Keys(keys), Rates(options, StoredWindows(MemoryStorage())))
            yield f"{count:,} keys, {name}", gate, f"Bearer {key}"


async def main() -> None:
    print("| gate | microseconds a request |\n| --- | --: |")
    for name, gate, header in gates():
        print(f"| {name} | {await microseconds(gate, header):.2f} |")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
