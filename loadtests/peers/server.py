"""Runs one contestant's process: starts, waits for an answer, stops it between turns, measures, ends."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
import urllib.error
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from loadtests.bodies import Call
from loadtests.client import ask
from loadtests.observe import bytes_of_all, process_tree

_START_SECONDS = 240.0
_STOP_SECONDS = 30.0


class NotRunning(Exception):
    """The server ended or did not answer; the message has its last output."""


class PeerServer:
    """A running contestant. `startup_seconds`: from the start of the process to the first answer.

    It is stopped (SIGSTOP) between turns, so that no idle contestant takes CPU time by spinning or timers.
    """

    def __init__(self, command: list[str], environment: dict[str, str], url: str, log: Path) -> None:
        self.url = url
        self._log_path = log
        self._log: IO[bytes] = log.open("wb")
        self._began = time.perf_counter()
        self.startup_seconds = float("nan")
        self._process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            process_group=0,  # in the same session, so that Linux shares the cores fairly
        )
        self.pid = self._process.pid

    def wait_for_answer(self, call: Call) -> Any:
        """Send requests until there is an answer; return its JSON.

        Raises:
            NotRunning: the process ended, or did not answer within four minutes.
        """
        last = ""
        while time.perf_counter() - self._began < _START_SECONDS:
            if self._process.poll() is not None:
                raise NotRunning(f"ended with status {self._process.returncode}: {self._last_words()}")
            try:
                answer = ask(self.url, call)
            except urllib.error.HTTPError as error:
                last = f"{error.code} {error.read(300).decode(errors='replace')}"
            except OSError as error:
                last = str(error)
            else:
                if math.isnan(self.startup_seconds):
                    self.startup_seconds = time.perf_counter() - self._began
                return answer
            time.sleep(0.1)
        raise NotRunning(f"no answer in {_START_SECONDS:g} s, last {last}: {self._last_words()}")

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def peak_bytes(self) -> int:
        """The sum of the peak resident memory of its processes."""
        return bytes_of_all(self.pid, "VmHWM")

    def stop(self) -> None:
        """End the process and its descendants."""
        members = process_tree(self.pid)
        self.resume()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for member in members[1:]:  # descendants that outlive it
            _send(member, signal.SIGKILL)
        self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        for member in process_tree(self.pid):
            _send(member, number)

    def _last_words(self) -> str:
        lines = self._log_path.read_text("utf-8", "replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-4:])[-600:]


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
