"""Changes a store from a process of its own.

python -m tests.application.label_sets.writer generations|count WHERE NUMBER

WHERE is the URL of a Redis, or the state directory of a FileStore.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path
from typing import get_args

from clipserve.application.label_sets.file_store import FileStore
from clipserve.application.label_sets.store import Kind, Store

ROOT = Path(__file__).parents[3]
KINDS: tuple[Kind, ...] = get_args(Kind)


def opened(where: str) -> Store:
    if not where.startswith("redis://"):
        return FileStore(Path(where))
    from clipserve.application.label_sets.redis_store import RedisStore  # takes long

    return RedisStore(where, seconds=60, value_seconds=60)  # a busy machine is no Redis that is away


def started(what: str, where: str, number: int) -> subprocess.Popen[str]:
    """The process, with what it prints on a pipe."""
    command = [sys.executable, "-m", "tests.application.label_sets.writer", what, where, str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def generation_of(value: bytes) -> int:
    return int(value[:20])


async def generations(store: Store, first: int) -> None:
    """Change a row of each kind again and again, to the next number; print it once the changes are made."""
    generation = first
    while True:
        value = b"%020d" % generation + b"x" * 50_000
        for kind in KINDS:
            await store.put(kind, "a", value[:20], value)
        print(generation, flush=True)
        generation += 1


async def count(store: Store, times: int) -> None:
    """Put a row of each kind and delete one of them, as often as that."""
    mine = f"{uuid.uuid4()}"
    for number in range(times):
        for kind in KINDS:
            await store.put(kind, f"{mine}.{number}", b"")
        assert await store.delete("vectors", [f"{mine}.{number}"])


async def main(what: str, where: str, number: int) -> None:
    store = opened(where)
    await {"generations": generations, "count": count}[what](store, number)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
