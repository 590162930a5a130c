"""`python -m clipserve` as a process of its own."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import httpx

from clipserve.demo import FOLDER as DEMO
from loadtests.process import free_port
from tests.support.constants import constants_among
from tests.support.forking import Forked

ROOT = Path(__file__).parents[2]
# Before a command: root may read and write all files; this takes that away.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
# Settings of a service whose decoders are not what is tested: its start costs 1.5 s of CPU in place of 2.1.
LIGHT = {"backend": "onnx", "decode_processes": "false"}
# A busy machine refuses nothing where that is not what is tested, so that what is counted is exact.
PATIENT = {"max_queue_seconds": 60, "deadline_seconds": 60}
# And it may hold up a client in the middle of a body, or of anything else that it sends or takes.
SLOW_BODIES = {"grace_seconds": 60, "longest_pause_seconds": 60, "body_timeout_seconds": 60}
SLOW_BODIES |= dict.fromkeys(
    ("first_byte_timeout_seconds", "header_timeout_seconds", "write_timeout_seconds"), 60
)
PATIENT_WITH_CLIENTS = {**PATIENT, **SLOW_BODIES}
# Nor is a Triton that waits for a core taken for silent, or for one that shares no memory.
PATIENT_WITH_TRITON = {**PATIENT_WITH_CLIENTS, "silent_seconds": 60, "share_seconds": 60}
# On a new connection each, and without the system's certificates: reading those takes most of the time.
# A minute is there to notice a hang: a busy machine takes longer than httpx's five seconds.
get = functools.partial(httpx.get, verify=False, timeout=60)
post = functools.partial(httpx.post, verify=False, timeout=60)
put = functools.partial(httpx.put, verify=False, timeout=60)
delete = functools.partial(httpx.delete, verify=False, timeout=60)


def waited_until(
    holds: Callable[[], bool], seconds: float = 300, said: Callable[[], object] = lambda: "it never holds"
) -> None:
    """Wait until it holds, for so long at most: a busy machine has its time. `said`: what there is instead."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, said()
        time.sleep(0.02)


def uncovered() -> dict[str, str]:
    """The environment of a process that coverage does not follow into."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


class Process:
    """A service process; its `url`s answer once `wait_ready` has returned. `prefix`: a command that starts it.

    `settings` may name constants of layers too. A call of an encoder has one thread, unless a test asks for more
    (0: the default): as many as there are cores would wait in busy loops, on cores that other tests use.
    """

    arguments: tuple[str, ...] = ()
    module = "clipserve"  # what is run; another one takes constants itself, or has none
    fork = True  # without a prefix it is a fork of a process that has imported the service, for speed

    def __init__(self, *prefix: str, **settings: str | int) -> None:
        port, grpc_port, operations_port = free_port(), free_port(), free_port()
        # It is called `a` and `x` in tests that write their own headers.
        chosen: dict[str, str | int] = {"port": port, "grpc_port": grpc_port, "allowed_hosts": "a,x"}
        chosen |= {"operations_port": operations_port} | ({"threads": 1} if self.fork else {}) | settings
        constants = constants_among(chosen)
        environment = os.environ | {
            f"CLIPSERVE_{name.upper()}": str(value) for name, value in chosen.items() if name not in constants
        }
        self.url = f"http://127.0.0.1:{chosen['port']}"
        self.rpc_address = f"127.0.0.1:{chosen['grpc_port']}"
        self.operations_url = f"http://127.0.0.1:{operations_port}"
        # A file, because a pipe would fill up and lose lines; kept as long as this object is.
        descriptor, path = tempfile.mkstemp(prefix="clipserve-log-")
        self._log = Path(path)
        weakref.finalize(self, self._log.unlink, missing_ok=True)
        with open(descriptor, "wb") as log:
            self.popen: Forked | subprocess.Popen[bytes]
            if self.fork and self.module == "clipserve" and not prefix:
                self.popen = Forked(self.arguments, environment, constants, self._log)
            else:
                environment |= {"OTHER_CONSTANTS": json.dumps(constants)} if constants else {}
                module = (
                    "tests.support.constants" if constants and self.module == "clipserve" else self.module
                )
                command = [*prefix, sys.executable, "-m", module, *self.arguments]
                self.popen = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
        atexit.register(self.popen.kill)  # a test that fails does not leave it behind

    def wait_ready(self, seconds: float = 300) -> float:
        """Seconds until /readyz said so, on both ports: the one of operations hears of it a beat later."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            try:
                if all(get(url + "/readyz").status_code == 200 for url in (self.url, self.operations_url)):
                    return time.monotonic() - started
            except httpx.TransportError:
                pass
            assert self.popen.poll() is None, self.log()
            time.sleep(0.05)
        raise AssertionError(f"not ready within {seconds:g} s:\n{self.log()}")

    def resident(self) -> int:
        """KiB of memory that it holds now."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """(exit status, everything it logged)."""
        self.popen.send_signal(signum)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end, for minutes on a busy machine: (exit status, everything it logged)."""
        return self.popen.wait(300), self.log()

    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()


class Fresh(Process):
    """One that has imported all by itself."""

    fork = False


def failed_start(*arguments: str, **settings: str | int) -> tuple[int, str]:
    """(exit status, why it cannot start)."""
    process: Process = type("WithArguments", (Process,), {"arguments": arguments})(**settings)
    status, log = process.ended()
    lines = [json.loads(line) for line in log.splitlines()]
    assert not [line for line in lines if "exception" in line]
    return status, "\n".join(line["reason"] for line in lines if line["event"] == "cannot_start")


def copy_of_demo(folder: Path) -> Path:
    """model.json, the graphs and the tokenizer of the demo model, to be spoilt."""
    return Path(shutil.copytree(DEMO, folder / "copy", ignore=shutil.ignore_patterns("*.py", "*.md")))


def demo_named(name: str, folder: Path) -> Path:
    """A copy of the demo model under another name."""
    manifest = copy_of_demo(folder) / "model.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"name": name}))
    return manifest.parent


def metric(process: Process, series: str) -> float:
    lines = get(process.operations_url + "/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(series))


def until_admitted(process: Process, endpoint: str, requests: int, images: int) -> None:
    """Until the service has admitted or ended so many requests of so many images each."""
    ended = f'clipserve_requests_total{{endpoint="{endpoint}"'
    in_flight = 'clipserve_rows_in_flight{tower="image"}'
    waited_until(lambda: metric(process, ended) + metric(process, in_flight) / images >= requests)
