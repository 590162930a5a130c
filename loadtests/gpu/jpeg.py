"""JPEG in, vectors out: one gateway and several in front of one Triton."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from loadtests import closed_loop
from loadtests.gpu.facts import GpuUse
from loadtests.gpu.servers import Triton
from loadtests.load import Load
from loadtests.observe import cpu_seconds_of_all
from loadtests.process import Server, started
from loadtests.scenarios import SCENARIOS

SCENARIO = "embed-640x480"
_PATIENT = {"max_queue_seconds": "60", "deadline_seconds": "60", "max_connections": "2048"}


def through_gateways(
    triton: Triton, artifact: Path, gateways: Sequence[int], seconds: float, clients: int, generators: int
) -> list[dict[str, Any]]:
    """For each number of gateways what so many serve.

    `clients`: for each of them; they are sent from at least `generators` processes.
    """
    found = []
    own = _PATIENT | {"models": str(artifact), "backend": "triton", "triton_url": triton.url}
    with ExitStack() as stack:
        servers: list[Server] = []
        for count in gateways:
            while len(servers) < count:
                servers.append(stack.enter_context(started("clipserve", **own)))
                load_from([servers[-1].url], clients, 1, min(seconds, 2.0))  # caches, pages, clocks
            found.append({"gateways": count} | _measured(triton, servers, clients, generators, seconds))
    return found


def _measured(
    triton: Triton, servers: list[Server], clients: int, generators: int, seconds: float
) -> dict[str, Any]:
    before, cpu = triton.counted(), _cpu(servers)
    with GpuUse() as use:
        load = load_from([each.url for each in servers], clients * len(servers), generators, seconds)
    used = _cpu(servers) - cpu
    return {
        "clients": clients * len(servers),
        "images": load.goodput(),
        "p50": load.percentile(0.5),
        "p99": load.percentile(0.99),
        "failed": load.failed + len(load.refusals),
        "gateway_cpu_ms": used / max(1, len(load.answers)) * 1000,
        "generator": load.client_share,
        "gpu": use.data,
    } | triton.counted().since(before, "image")


def _cpu(servers: list[Server]) -> float:
    return sum(cpu_seconds_of_all(each.pid or 0) for each in servers)


def load_from(urls: Sequence[str], clients: int, generators: int, seconds: float) -> Load:
    """A closed loop of `clients` from `generators` processes, and one at least for each URL."""
    count = max(len(urls), min(generators, clients))
    shares = [clients // count + (number < clients % count) for number in range(count)]
    if count == 1:
        return _closed(urls[0], clients, seconds, 0)
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        runs = [
            pool.submit(_closed, urls[number % len(urls)], share, seconds, number * 1_000_000)
            for number, share in enumerate(shares)
        ]
        loads = [run.result() for run in runs]
    answers = [answer for load in loads for answer in load.answers]
    cpu = sum(load.client_cpu * len(load.answers) for load in loads)
    return Load(max(load.seconds for load in loads), answers, cpu / max(1, len(answers)))


def _closed(url: str, clients: int, seconds: float, first: int) -> Load:
    return closed_loop.run(url, SCENARIOS[SCENARIO].calls(), clients, seconds, first)
