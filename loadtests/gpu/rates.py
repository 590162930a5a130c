"""Measures rates of calls in this process, and of requests from several: one generator would be the limit."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from loadtests import closed_loop
from loadtests.bodies import Call
from loadtests.gpu.findings import Line
from loadtests.load import Load

_PERIOD = 0.5  # seconds between two samples of the GPU


@dataclass(frozen=True)
class Plan:
    """The amount of measuring: rows of calls, seconds of each rate, clients of each service, processes that send.

    JPEG load takes four times as long.
    """

    sizes: Sequence[int]
    seconds: float
    clients: int
    senders: int


def load_of(urls: Sequence[str], call: Call, clients: int, seconds: float) -> Load:
    """Closed loops of `clients` at all addresses at the same time, each from its own process."""
    with ProcessPoolExecutor(len(urls), get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.5] * len(urls)))  # until all have started
        running = [pool.submit(closed_loop.run, url, call, clients, seconds) for url in urls]
        loads = [each.result() for each in running]
    answers = [answer for load in loads for answer in load.answers]
    cpu = sum(load.client_cpu * len(load.answers) for load in loads)
    return Load(max(load.seconds for load in loads), answers, cpu / max(1, len(answers)))


def keeps_up(part: str, what: str, cores: float) -> Line:
    """Whether a sending process, which took so many cores, was not the limit itself."""
    value = f"{100 * cores:.0f} % of a core"
    return Line(part, f"{what}, a generator", value, "< 80, or more senders", cores < 0.8)


def figures(load: Load, senders: int) -> dict[str, float | int]:
    """The figures of a load, for a table of speeds."""
    return {
        "p50 ms": 1000 * load.percentile(0.5),
        "p99 ms": 1000 * load.percentile(0.99),
        "not answered": load.failed + len(load.refusals),
        "a generator's CPU %": 100 * load.client_cores / senders,
    }


def nvidia_smi(*fields: str) -> list[str]:
    """These fields of the first GPU; none without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "--id=0"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return [each.strip() for each in done.stdout.split(",")] if done.returncode == 0 else []


@contextmanager
def gpu_use() -> Iterator[dict[str, float | None]]:
    """Filled after the block: per cent of its time that the first GPU computed, MiB in use; None without a GPU."""
    used: dict[str, float | None] = {"GPU busy %": None, "GPU MiB": None}
    samples, stop = list[list[str]](), threading.Event()

    def sample() -> None:
        while not stop.wait(_PERIOD):
            samples.append(nvidia_smi("utilization.gpu", "memory.used"))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield used
    finally:
        stop.set()
        thread.join()
    for name, values in zip(used, zip(*filter(None, samples), strict=True), strict=False):
        numbers = [float(value) for value in values if value.isdecimal()]  # a part of a GPU (MIG) is "[N/A]"
        used[name] = statistics.mean(numbers) if numbers else None
