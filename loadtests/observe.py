"""Observes a server process under load: memory and CPU time. Linux only."""

from __future__ import annotations

import os
import statistics
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

from loadtests.process import Server

_TICKS = os.sysconf("SC_CLK_TCK")  # of /proc, a second
_PERIOD = 0.25  # seconds between two samples of memory

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]  # of Prometheus: (name, labels) -> value


@dataclass(frozen=True)
class Memory:
    """`at`: seconds since the observation began; `rss`: bytes in memory then."""

    at: float
    rss: int


@dataclass(frozen=True)
class Observation:
    """The result. `cpu_seconds`: of the process in the run. `peak`: its most bytes in memory since its start."""

    cpu_seconds: float | None = None
    peak: int | None = None
    memory: list[Memory] = field(default_factory=list, repr=False)

    @property
    def rss(self) -> int | None:
        """Bytes in memory at the end."""
        return self.memory[-1].rss if self.memory else None

    @property
    def growth(self) -> float:
        """Growth of memory in the second half, in KiB a minute: the slope of the least squares line."""
        half = self.memory[len(self.memory) // 2 :]
        if len(half) < 2:
            return 0.0
        return statistics.linear_regression([m.at / 60 for m in half], [m.rss / 1024 for m in half]).slope


class Observer:
    """Observes `server` during the `with` block; afterwards `observation` has the result."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._memory: list[Memory] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.observation = Observation()

    def __enter__(self) -> Self:
        pid = self._server.pid
        self._cpu = cpu_seconds(pid) if pid else 0.0
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stop.set()
        self._thread.join()
        if error is not None:
            return  # the server may have ended
        pid = self._server.pid
        self.observation = Observation(
            cpu_seconds=cpu_seconds(pid) - self._cpu if pid else None,
            # The kernel updates its counters lazily: VmHWM can be some pages below a VmRSS that was read before.
            peak=max([memory(pid)["VmHWM"], *(each.rss for each in self._memory)]) if pid else None,
            memory=self._memory,
        )

    def _sample(self) -> None:
        pid = self._server.pid
        while pid is not None:
            try:
                rss = memory(pid)["VmRSS"]
            except (FileNotFoundError, KeyError):
                return  # it ended
            at = time.perf_counter() - self._started
            self._memory.append(Memory(at, rss))
            if self._stop.wait(_PERIOD):
                return


def cpu_seconds(pid: int | str, last: int = 12) -> float:
    """CPU seconds of all threads of a process since it started; of one thread, as "PID/task/TID"."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()  # behind the name
    return sum(map(int, fields[11 : last + 1])) / _TICKS  # utime, stime; to 14 those of ended children


def cpu_seconds_of_all(pid: int) -> float:
    """CPU seconds of a process and all its descendants: workers, decoders, and those that have ended."""
    total = 0.0
    for member in process_tree(pid):
        with suppress(OSError):  # it has just ended
            total += cpu_seconds(member, last=14)
    return total


class Others:
    """Measures the CPU time of all other programs except descendants, which would falsify a measurement."""

    def __init__(self) -> None:
        self._began, self._taken = time.monotonic(), self._cpu_seconds()

    def warning(self) -> str:
        """A warning if they have used more than a twentieth of the cores since; else nothing."""
        whole = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        share = (self._cpu_seconds() - self._taken) / whole
        return f"**Other programs took {share:.0%} of the cores: measure again.**" if share > 0.05 else ""

    @staticmethod
    def _cpu_seconds() -> float:
        user, nice, system = map(int, Path("/proc/stat").read_text("utf-8").split()[1:4])  # of all cores
        return (user + nice + system) / _TICKS - cpu_seconds_of_all(os.getpid())


def process_tree(pid: int) -> list[int]:
    """The process and all its descendants, parents first. A child belongs to the thread that started it."""
    found = [pid]
    for parent in found:  # grows while it is walked
        for listing in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # that thread has just ended
                found += [int(child) for child in listing.read_text("utf-8").split()]
    return found


def bytes_of_all(pid: int, kind: str) -> int:
    """The sum of `memory` over the tree of processes, in bytes; shared memory counts for each."""
    total = 0
    for member in process_tree(pid):
        with suppress(OSError, KeyError):  # it has just ended
            total += memory(member)[kind]
    return total


def memory(pid: int) -> dict[str, int]:
    """Bytes in memory: `VmRSS` now, `VmHWM` the maximum so far."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return {
        line.split()[0].rstrip(":"): int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")
    }


def parse(text: str) -> Samples:
    """All samples of a reading."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(url: str) -> Samples:
    """The samples of a server now."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return parse(answer.read().decode())
