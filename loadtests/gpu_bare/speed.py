"""Rows a second of one encoder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import onnxruntime as ort

from loadtests.gpu_bare.inputs import Feeds
from loadtests.gpu_bare.sessions import Bound, run

_WARM = 2
_LEAST = 3


def calls_per_second(call: Callable[[], object], seconds: float, threads: int = 1) -> float:
    """Of all threads together, each doing one call after the other."""
    for _ in range(_WARM):
        call()
    counts = [0] * threads
    began = time.perf_counter()

    def loop(index: int) -> None:
        while counts[index] < _LEAST or time.perf_counter() - began < seconds:
            call()
            counts[index] += 1

    workers = [threading.Thread(target=loop, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - began)


def rates(session: ort.InferenceSession, feeds: Feeds, seconds: float) -> dict[str, float]:
    """Rows a second as the service runs it: one call at a time, and two."""
    rows = len(next(iter(feeds.values())))
    return {
        "run/s": rows * calls_per_second(lambda: run(session, feeds), seconds),
        "two at a time/s": rows * calls_per_second(lambda: run(session, feeds), seconds, threads=2),
    }


def bound_rates(
    session: ort.InferenceSession, feeds: Feeds, seconds: float, *, cuda: bool
) -> dict[str, float]:
    """Rows a second with bound memory: with the copies that a request needs, and without."""
    rows = len(next(iter(feeds.values())))
    bound = Bound(session, feeds, cuda=cuda)
    return {
        "IOBinding/s": rows * calls_per_second(bound.with_copies, seconds),
        "without copies/s": rows * calls_per_second(bound.compute_only, seconds),
    }
