"""Services that are forks of one process that has imported them: an import takes a second of CPU, a fork none.

`python -m tests.support.forking` is that process. Whoever connects to its socket sends what one fork is to be
started with. A keeper, which is its parent, answers with its process id, and with its exit status when it has
ended.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_BYTES = 4  # of a number that a keeper says


class Forked:
    """A service, used as `subprocess.Popen` is. Standard error goes to the file `log`."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        constants: Mapping[str, Any],
        log: Path,
    ) -> None:
        self._keeper = socket.socket(socket.AF_UNIX)
        self._keeper.connect(_forker())
        asked = {"arguments": [*arguments], "environment": dict(environment), "constants": dict(constants)}
        asked["log"] = str(log)
        self._keeper.sendall(json.dumps(asked).encode())
        self._keeper.shutdown(socket.SHUT_WR)
        self.returncode: int | None = None
        self.pid = self._told()

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._keeper.settimeout(timeout)
            try:
                self.returncode = self._told()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("clipserve", timeout or 0) from None
            self._keeper.close()
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _told(self) -> int:
        told = self._keeper.recv(_BYTES)
        assert told, "the keeper has ended"
        return int.from_bytes(told, signed=True)


@functools.cache
def _forker() -> str:
    """The socket of the process that forks, started once."""
    folder = tempfile.mkdtemp(prefix="clipserve-forking-")
    path = f"{folder}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        command = [sys.executable, "-m", "tests.support.forking", str(listener.fileno())]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[listener.fileno()])
    atexit.register(shutil.rmtree, folder)
    atexit.register(process.wait)
    atexit.register(process.terminate)
    return path


def _forks(listener: socket.socket) -> Callable[[], None]:
    """Fork for each connection, until the tests have ended. What this returns is for the fork to do."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    parent = os.getppid()
    listener.settimeout(5)
    while True:
        try:
            keeper, _ = listener.accept()
        except TimeoutError:
            if os.getppid() != parent:
                sys.exit()
            continue
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            break
        keeper.close()
    listener.close()
    asked = json.loads(b"".join(iter(lambda: keeper.recv(65_536), b"")))
    if pid := os.fork():
        _keep(keeper, pid)
    keeper.close()
    sys.argv[1:] = asked["arguments"]
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.dup2(os.open(asked["log"], os.O_WRONLY | os.O_APPEND), 2)
    return functools.partial(run_with, asked["constants"])


def _keep(keeper: socket.socket, pid: int) -> None:
    """Say of the fork who it is, and how it has ended; then end."""
    with contextlib.suppress(OSError):  # who asked has ended first
        keeper.sendall(pid.to_bytes(_BYTES))
        _, status = os.waitpid(pid, 0)
        keeper.sendall(os.waitstatus_to_exitcode(status).to_bytes(_BYTES, signed=True))
    os._exit(0)


if __name__ == "__main__":
    import clipserve.wiring.serve  # noqa: F401 what a service imports
    from tests.support.constants import run_with

    _forks(socket.socket(fileno=int(sys.argv[1])))()
