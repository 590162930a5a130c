"""Runs a service to load on a free port, until the block ends."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Settings for loads that look for the capacity: nobody is refused, and 1,000 labels may take their time.
PATIENT = {"max_queue_seconds": "60", "deadline_seconds": "60"}
_FIRST_PORT, _LAST_PORT = 10_000, 32_000
_claims: deque[int] = deque()
_CLAIMS = 100
_chance = random.SystemRandom()  # independent of tests' seeds


def free_port() -> int:
    """A random free TCP port outside of Linux's ephemeral range.

    An ephemeral port may become the port of a connection a moment later. A server takes a second until it listens:
    until 100 ports later no process on this machine is given the same port, because this one holds a name for it.
    """
    while True:
        port = _chance.randrange(_FIRST_PORT, _LAST_PORT)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0clipserve-port-{port}")  # a name without a file, which ends with the process
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim.detach())  # open until it is closed by number
        if len(_claims) > _CLAIMS:
            os.close(_claims.popleft())
        return port


@dataclass(frozen=True)
class Server:
    """A server under load. Without `metrics_url` or `pid` less can be observed.

    `grpc`: the address of its gRPC.
    """

    url: str
    metrics_url: str | None = None
    pid: int | None = None
    grpc: str = ""


@contextmanager
def started(*module: str, folder: Path | str = ".", **settings: str | int | float) -> Iterator[Server]:
    """Run `python -m` the module, with these settings and an operations port; yield the server once it is ready.

    `folder`: the checkout whose code it runs. Its state is its own: another version may keep other data.
    """
    root = Path(folder)
    port, operations_port, grpc_port = free_port(), free_port(), free_port()
    chosen = {
        "port": port,
        "operations_port": operations_port,
        "grpc_port": grpc_port,
        "log_level": "WARNING",
        **settings,
    }
    chosen.setdefault("grpc_enabled", "false")
    environment = os.environ | {f"CLIPSERVE_{name.upper()}": str(value) for name, value in chosen.items()}
    paths = [root / "service", root / "models", root]
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (path.resolve() for path in paths)))
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", *module]
    with tempfile.TemporaryDirectory() as state:
        environment["CLIPSERVE_STATE_DIR"] = str(chosen.get("state_dir", state))
        with running(command, "the service", lambda: ready(url), env=environment, cwd=root) as pid:
            metrics = f"http://127.0.0.1:{operations_port}/metrics"
            yield Server(url, metrics, pid, f"127.0.0.1:{grpc_port}")


@contextmanager
def running(
    command: Sequence[str], what: str, ready: Callable[[], bool], seconds: float = 300.0, **options: Any
) -> Iterator[int]:
    """Run a command with these options of Popen; yield its pid once it is ready (see `wait`)."""
    process = subprocess.Popen(command, **options)
    try:
        wait(process, what, ready, seconds)
        yield process.pid
    finally:
        process.terminate()
        process.wait(300)


def ready(url: str) -> bool:
    """Whether the server is ready. Raises OSError if it does not answer, or is not ready."""
    with urllib.request.urlopen(f"{url}/readyz") as answer:
        return bool(answer.status == 200)


def wait(process: subprocess.Popen[bytes], what: str, ready: Callable[[], bool], seconds: float) -> None:
    """Wait until it is ready. Raises SystemExit if it ends before, or takes so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{what} ended before it was ready")
        with suppress(OSError):  # it does not listen yet, or is not ready
            if ready():
                return
        time.sleep(0.05)
    raise SystemExit(f"{what} was not ready within {seconds:g} s")
