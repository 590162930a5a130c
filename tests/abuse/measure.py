"""What a process and its children do, as the kernel counts it. Linux only.

The service decodes in processes of its own, which it ends when they take too long: their costs are the service's.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")  # of /proc, a second
_LOOKS, _LOOK_SECONDS = 10, 0.005  # until it is at rest


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


def wait_for_rest(pid: int, most_seconds: float = 60) -> None:
    """Until the process has nothing to do, for so long at most; requests of a neighbour are nothing.

    A process without a core has as much to do as one that computes.
    """
    until, looks = time.monotonic() + most_seconds, deque([True] * _LOOKS, _LOOKS)
    while sum(looks) > _LOOKS * 0.4 and time.monotonic() < until and Path(f"/proc/{pid}/stat").exists():
        time.sleep(_LOOK_SECONDS)
        looks.append(at_work(pid))


def _clock(pid: int) -> float:
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), to the nanosecond


def resident(pid: int) -> int:
    """Bytes that they have in memory now."""
    return sum(_of_status(each, "VmRSS") for each in family(pid))


def peak(pid: int) -> int:
    """Bytes that each of them had at most, together, since `forget_peak`."""
    return sum(_of_status(each, "VmHWM") for each in family(pid))


def forget_peak(pid: int) -> None:
    for each in family(pid):
        with suppress(OSError):
            Path(f"/proc/{each}/clear_refs").write_text("5")


def _of_status(pid: int, name: str) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
    return 0
