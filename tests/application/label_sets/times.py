"""How long a store takes: python -m tests.application.label_sets.times [redis://...]

Without a Redis: an SqliteStore in a new folder, below TMPDIR. Medians, and the longest time in which the event loop
did nothing else.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

import uvloop

from clipserve.application.label_sets.store import Key, Store
from tests.application.label_sets.writer import opened

TIMES = 30
SMALL: Key = ("sets", "a")
LARGE: Key = ("weights", "a")


async def longest_pause(ended: asyncio.Event) -> float:
    """Seconds between two turns of a loop that wants one each millisecond."""
    longest, last = 0.0, time.perf_counter()
    while not ended.is_set():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


async def report(name: str, times: int, call: Callable[[], Awaitable[object]]) -> None:
    ended, taken = asyncio.Event(), []
    pause = asyncio.ensure_future(longest_pause(ended))
    await asyncio.sleep(0.01)
    for _ in range(times):
        begun = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - begun)
    ended.set()
    print(f"{name:24} {statistics.median(taken) * 1e3:9.3f} ms   event loop {await pause * 1e3:8.2f} ms")


async def measure(store: Store) -> None:
    await store.put({SMALL: b"1"})
    await report("revision", TIMES * 100, store.revision)
    await report("put of 1 kB", TIMES * 10, lambda: store.put({SMALL: bytes(1_000)}))
    for megabytes in (2, 10, 40):
        put = functools.partial(store.put, {LARGE: bytes(megabytes * 1_000_000)})
        await report(f"put of {megabytes} MB", TIMES, put)
        await report(f"get of {megabytes} MB", TIMES, lambda: store.get("weights", ["a"]))
    await report("revision after that", TIMES * 100, store.revision)
    await store.aclose()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(opened(sys.argv[1] if len(sys.argv) > 1 else folder)))
