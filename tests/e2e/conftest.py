"""`python -m service` as its own process, with the demo model, and real photographs."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import skimage.data
from PIL import Image

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Process:
    """A service process; `url` answers once `wait_ready` has returned. `prefix`: a command that starts it."""

    def __init__(self, *prefix: str, **settings: str | int) -> None:
        port, self.metrics_port = free_port(), free_port()
        chosen = {"port": port, "metrics_port": self.metrics_port, **settings}
        environment = os.environ | {f"CLIPSERVE_{name.upper()}": str(value) for name, value in chosen.items()}
        self.url = f"http://127.0.0.1:{port}"
        # A file, because a pipe would fill up and hold up the service; kept as long as this object is.
        self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115
        self.popen = subprocess.Popen(
            [*prefix, sys.executable, "-m", "service"], cwd=ROOT, env=environment, stderr=self._log
        )

    def wait_ready(self, seconds: float = 30) -> float:
        """Seconds until /readyz said so."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            try:
                if httpx.get(self.url + "/readyz").status_code == 200:
                    return time.monotonic() - started
            except httpx.TransportError:
                pass
            assert self.popen.poll() is None, self.log()
            time.sleep(0.05)
        raise AssertionError("not ready in time")

    def resident(self) -> int:
        """KiB of memory that it holds now."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """(exit status, everything it logged)."""
        self.popen.send_signal(signum)
        return self.ended()

    def ended(self, seconds: float = 40) -> tuple[int, str]:
        """Wait for its end: (exit status, everything it logged)."""
        return self.popen.wait(seconds), self.log()

    def log(self) -> str:
        """What it has logged so far."""
        return Path(self._log.name).read_text()


@pytest.fixture(scope="session")
def demo() -> Iterator[str]:
    """The address of one service for the whole session."""
    process = Process()
    process.wait_ready()
    yield process.url
    assert process.stop()[0] == 0


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """scikit-image's photographs as JPEG files."""
    result = {}
    for name in ("cat", "coffee", "rocket", "astronaut"):
        file = io.BytesIO()
        Image.fromarray(getattr(skimage.data, name)()).save(file, "JPEG", quality=90)
        result[name] = file.getvalue()
    return result
