"""Observes a server process under load: memory and CPU time. Linux only."""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from loadtests.process import Server

_TICKS = os.sysconf("SC_CLK_TCK")  # of /proc, a second

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]  # of Prometheus: (name, labels) -> value


@dataclass(frozen=True)
class Observation:
    """Of a run: CPU seconds of the process; its bytes in memory at the end, and the most since its start."""

    cpu_seconds: float | None = None
    rss: int | None = None
    peak: int | None = None


def observed(server: Server) -> Callable[[], Observation]:
    """Begin to observe; what is returned ends it. Nothing is known of a server whose process is not."""
    pid = server.pid
    if pid is None:
        return Observation
    before = cpu_seconds(pid)

    def end() -> Observation:
        spent, now = cpu_seconds(pid) - before, memory(pid)
        return Observation(spent, now["VmRSS"], max(now.values()))  # the kernel updates VmHWM lazily

    return end


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
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines())
    return {line[0][:-1]: int(line[1]) * 1024 for line in lines if line[0] in ("VmRSS:", "VmHWM:")}


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
