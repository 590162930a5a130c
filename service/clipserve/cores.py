"""The CPU cores that this process may use, and who in it comes first."""

from __future__ import annotations

import math
import os
import platform
import sys
import threading
from pathlib import Path

# Added to a thread's nice value: a thread of 0 gets three times the time of one of 5. Values go from -20 to 19, and
# the lower comes first.
_COMPUTING = 5


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The smaller of the CPU affinity and the cgroup's quota (v2, else v1), rounded up; at least 1.

    A thread pool larger than the quota is throttled by the kernel in the middle of a call.
    """
    cores, quota = affinity(), cpu_quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def affinity() -> int:
    """The cores that this process may run on; where the system does not say, all that there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(cgroup: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The cores that the cgroup (v2, else v1) may use on average; None: as many as there are."""
    return _quota_v2(cgroup) or _quota_v1(cgroup)


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the first core is and can: its model and its features, as the system tells them."""
    try:
        first = cpuinfo.read_text("utf-8", "replace").split("\n\n")[0]
    except OSError:
        return platform.processor()
    changes = ("cpu MHz", "bogomips", "apicid", "initial apicid", "processor")
    return "\n".join(line for line in first.splitlines() if not line.startswith(changes))


def yield_to_event_loop() -> None:
    """Called in a thread that computes: from now on the event loop, which needs little, gets a core before it.

    Without it a refusal waits until encoders and decoders have used up their turns. Threads that the thread starts,
    onnxruntime's among them, inherit it. Linux alone has priorities of threads, and lets every process raise the
    nice value of its own, from wherever it stands; to lower it needs a privilege.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        nice = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(nice + _COMPUTING, 19))


def _quota_v2(cgroup: Path) -> float | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text("utf-8").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(cgroup: Path) -> float | None:
    try:
        quota = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text("utf-8"))
        period = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
