"""The compiled generator wrk, for rates at which a Python client would take the CPU from the server."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).parent / "text.lua"


@dataclass(frozen=True)
class Texts:
    """Text requests in a closed loop. Seconds; `rate`: answers with 200 a second; `client_cpu`: a request."""

    requests: int
    rate: float
    p50: float
    p99: float
    errors: int
    client_cpu: float
    generator: str


def available() -> bool:
    """Whether wrk is installed (Debian: apt-get install wrk)."""
    return shutil.which("wrk") is not None


def texts(url: str, connections: int, seconds: float) -> Texts:
    """POST /embed with a new short text each time, from one thread."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(_SCRIPT), url]
    before = _children_cpu()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu = _children_cpu() - before
    said = json.loads(output.strip().splitlines()[-1])
    errors = said["not_200"] + said["broken"]
    good = said["requests"] - said["not_200"]
    return Texts(
        requests=said["requests"],
        rate=good / said["microseconds"] * 1e6,
        p50=said["p50"] / 1e6,
        p99=said["p99"] / 1e6,
        errors=errors,
        client_cpu=cpu / max(1, said["requests"]),
        generator="wrk",
    )


def _children_cpu() -> float:
    """CPU seconds of the processes that this one has started and seen end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
