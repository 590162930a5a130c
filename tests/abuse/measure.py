"""What a process and its children do, as the kernel counts it. Linux only.

The service decodes in processes of its own, which it ends when they take too long: their costs are the service's.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")  # of /proc, a second
_PERIOD = 0.02


def family(pid: int) -> list[int]:
    """The process and its living children."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            children += map(int, task.read_text().split())
    return [pid, *children]


def cpu_seconds(pid: int) -> float:
    """CPU seconds of all threads of a process and of its children, also of those that have ended.

    Raises:
        OSError: there is no such process.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used = _clock(pid) + (int(fields[13]) + int(fields[14])) / _TICKS  # cutime, cstime
    for child in family(pid)[1:]:
        with suppress(OSError):
            used += _clock(child)
    return used


def at_work(pid: int) -> bool:
    """Whether a thread of theirs computes, or waits for a core or for a disk."""
    for each in family(pid):
        for stat in Path(f"/proc/{each}/task").glob("*/stat"):
            with suppress(OSError):  # the thread has ended
                if stat.read_text().rpartition(")")[2].split()[0] in "RD":
                    return True
    return False


def _clock(pid: int) -> float:
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), to the nanosecond


def resident(pid: int) -> int:
    """Bytes that they have in memory now."""
    return sum(_of_status(each, "VmRSS") for each in family(pid))


class Peak:
    """Most bytes that they had in memory at a time while the block lasts; afterwards in `bytes`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.bytes = 0

    def __enter__(self) -> Peak:
        for each in family(self._pid):
            with suppress(OSError):
                Path(f"/proc/{each}/clear_refs").write_text("5")  # forget the peak
        self.before = resident(self._pid)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        # Each one's own peak: more than all had at one time, but a short one is not missed.
        self.bytes = max(self.bytes, sum(_of_status(each, "VmHWM") for each in family(self._pid)))

    def _sample(self) -> None:
        while not self._ended.wait(_PERIOD):
            self.bytes = max(self.bytes, resident(self._pid))


def _of_status(pid: int, name: str) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
    return 0
