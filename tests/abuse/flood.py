"""Many connections that ask for images by URL in a closed loop, in a process of its own.

    python -m tests.abuse.flood HOST PORT COUNT URL PAUSE KEY SOURCE...

COUNT connections from the sources in turn; PAUSE: seconds between an answer and the next request; KEY: - for none.
Once a second a line: how many answers there were so far, by status.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice

from tests.abuse import hostile_host
from tests.abuse.attack import request
from tests.abuse.wire import Address

_IMAGES = 32  # in a request


def asking(url: str, count: int = _IMAGES, key: str = "-") -> bytes:
    """A request for an image so many times, and for no other on its connection."""
    more = ["Connection: close", *([] if key == "-" else [f"Authorization: Bearer {key}"])]
    return request("/embed", json.dumps({"images": [url] * count}).encode(), "application/json", *more)


@contextmanager
def flood(
    address: Address, count: int, path: str, *sources: str, pause: float = 0.0, key: str = "-"
) -> Iterator[Counter[str]]:
    """While the block lasts; at its end the counter has the statuses of the answers so far."""
    url, statuses = hostile_host.url() + path, Counter[str]()
    own = [address[0], str(address[1]), str(count), url, str(pause), key, *sources]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.abuse.flood", *own], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    try:
        yield statuses
    finally:
        process.terminate()
        lines = process.communicate()[0].splitlines()
        statuses.update(json.loads(lines[-1]) if lines else {})


async def _ask_again_and_again(
    address: Address, source: str, data: bytes, pause: float, statuses: Counter[str]
) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection(*address, local_addr=(source, 0))
            writer.write(data)
            answer = await reader.read()
            statuses[answer[9:12].decode() or "none"] += 1
            writer.close()
        except OSError:
            statuses["refused"] += 1
        await asyncio.sleep(pause)


async def main() -> None:
    os.nice(19)  # hostile clients bring their own CPUs
    host, port, count, url, pause, key, *sources = sys.argv[1:]
    statuses, data = Counter[str](), asking(url, key=key)
    tasks = [
        asyncio.create_task(_ask_again_and_again((host, int(port)), source, data, float(pause), statuses))
        for source in islice(cycle(sources), int(count))
    ]
    while not any(task.done() for task in tasks):
        print(json.dumps(statuses), flush=True)
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
