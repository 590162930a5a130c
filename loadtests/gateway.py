"""Measures the gateway alone: the cost of HTTP, parsing, tokenizing, batching and answering with fake engines.

The generator is wrk, if it is installed (Debian: apt-get install wrk): it is compiled, and at these rates a Python
client would take the CPU from the server.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from loadtests import closed_loop
from loadtests.observe import Observer
from loadtests.process import Server
from loadtests.scenarios import SCENARIOS

_SCRIPT = Path(__file__).parent / "text.lua"


@dataclass(frozen=True)
class GatewayRun:
    """A closed loop of new short texts. Times in seconds; `rate`: answers with 200 a second; CPU: of a request."""

    generator: str
    requests: int
    rate: float
    p50: float
    p99: float
    errors: int
    client_cpu: float
    server_cpu: float = 0.0


def gateway(server: Server, connections: int, seconds: float, first: int = 0) -> GatewayRun:
    """POST /embed as fast as `connections` can."""
    with Observer(server) as observer:
        ask = _wrk if available() else _python
        found = ask(server.url, connections, seconds, first)
    return replace(found, server_cpu=(observer.observation.cpu_seconds or 0.0) / max(1, found.requests))


def available() -> bool:
    """Whether wrk is installed."""
    return shutil.which("wrk") is not None


def _wrk(url: str, connections: int, seconds: float, _: int) -> GatewayRun:
    """Run wrk with one thread."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(_SCRIPT), url]
    before = sum(os.times()[2:4])  # CPU seconds of ended child processes
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu = sum(os.times()[2:4]) - before
    said = json.loads(output.strip().splitlines()[-1])
    requests, not_200 = said["requests"], said["not_200"]
    rate, p50, p99 = (requests - not_200) / said["microseconds"] * 1e6, said["p50"] / 1e6, said["p99"] / 1e6
    return GatewayRun("wrk", requests, rate, p50, p99, not_200 + said["broken"], cpu / max(1, requests))


def _python(url: str, connections: int, seconds: float, first: int) -> GatewayRun:
    load = closed_loop.run(url, SCENARIOS["text-8"].calls(), connections, seconds, first)
    p50, p99, requests = load.percentile(0.5), load.percentile(0.99), len(load.answers)
    errors = requests - len(load.good)
    return GatewayRun("Python threads", requests, load.goodput(), p50, p99, errors, load.client_cpu)
