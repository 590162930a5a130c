"""Changes a store from a process of its own.

python -m tests.application.label_sets.writer generations|count WHERE NUMBER

WHERE is the URL of a Redis, or the state directory of an SqliteStore.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import get_args

from clipserve.application.label_sets.sqlite_store import SqliteStore
from clipserve.application.label_sets.store import Key, Kind, Store

ROOT = Path(__file__).parents[3]
KINDS: tuple[Kind, ...] = get_args(Kind)
COUNTER: Key = ("sets", "counter")


def opened(where: str) -> Store:
    if not where.startswith("redis://"):
        return SqliteStore(Path(where))
    from clipserve.application.label_sets.redis_store import RedisStore  # takes long

    return RedisStore(where)


def started(what: str, where: str, number: int) -> subprocess.Popen[str]:
    """The process, with what it prints on a pipe."""
    command = [sys.executable, "-m", "tests.application.label_sets.writer", what, where, str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def generation_of(value: bytes) -> int:
    return int(value[:20])


async def generations(store: Store, first: int) -> None:
    """Change all rows again and again, each time to the next number; print it once the change is made."""
    generation = first
    while True:
        value = b"%020d" % generation + b"x" * 50_000
        named = f"only-{generation}"
        last = [(kind, f"only-{generation - 1}") for kind in KINDS]
        puts = {(kind, name): value for kind in KINDS for name in ("a", "b", named)}
        assert await store.change(puts, last)
        print(generation, flush=True)
        generation += 1


async def count(store: Store, times: int) -> None:
    """Add one to the counter, as often as that."""
    for _ in range(times):
        while True:
            was = await store.get(COUNTER)
            now = b"%d" % (int(was or b"0") + 1)
            if await store.change({COUNTER: now}, expected={COUNTER: was}):
                break


async def main(what: str, where: str, number: int) -> None:
    store = opened(where)
    await {"generations": generations, "count": count}[what](store, number)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
