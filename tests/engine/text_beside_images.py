"""`python -m tests.engine.text_beside_images`: how long a text takes beside a flood of images, in process on a GPU.

The GPU is a stand-in, whose calls sleep: 0.2 s for images, as 64 of a large model take, and 5 ms for texts.
"""

from __future__ import annotations

import asyncio
import time

import numpy as np

from clipserve.clip.artifact import IMAGE_GRAPH
from clipserve.engine.backend import Embeddings
from clipserve.engine.batch_queue import BatchPolicy
from clipserve.engine.batched import Batched
from clipserve.engine.in_process import EngineCall, Feeds, InProcess
from clipserve.telemetry.metrics import Metrics
from loadtests.load import percentile
from loadtests.report import ms

_TEXTS, _CLIENTS, _CALLS = 60, 8, 2
_IMAGES = np.zeros((64, 2, 2, 3), np.uint8)
_TEXT = np.zeros((1, 8), np.int32), np.array([1], np.int32)


class _Sleeping:
    """An `Engine`."""

    name = "sleeping"
    precision = None
    on_gpu = True

    def load(self) -> _Sleeping:
        return self

    def close(self) -> None: ...

    def lost(self) -> None:
        return None

    def call(self, graph: str, feeds: Feeds) -> EngineCall:
        rows = len(next(iter(feeds.values())))
        return _Sleep(0.2 if graph == IMAGE_GRAPH else 0.005, rows)


class _Sleep:
    def __init__(self, seconds: float, rows: int) -> None:
        self._seconds, self._rows = seconds, rows

    def run(self) -> Embeddings:
        time.sleep(self._seconds)
        return np.ones((self._rows, 1), np.float32)

    def cancel(self) -> None: ...


async def measure() -> list[float]:
    """Seconds of each text."""
    images, texts = BatchPolicy(64, concurrency=_CALLS), BatchPolicy(256, concurrency=_CALLS)
    backend = Batched(InProcess(_Sleeping(), _CALLS), images, texts, Metrics())
    await backend.start()

    async def flood() -> None:
        while True:
            await backend.encode_image(_IMAGES)

    clients = [asyncio.create_task(flood()) for _ in range(_CLIENTS)]
    seconds = []
    for _ in range(_TEXTS):
        began = time.perf_counter()
        await backend.encode_text(*_TEXT)
        seconds.append(time.perf_counter() - began)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    await backend.aclose()
    return seconds


if __name__ == "__main__":
    found = asyncio.run(measure())
    print(f"{len(found)} texts: p50 {ms(percentile(found, 0.5))} ms, p99 {ms(percentile(found, 0.99))} ms")
