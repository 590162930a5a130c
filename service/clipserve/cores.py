"""The CPU cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The smaller of the CPU affinity and the cgroup's quota (v2, else v1), rounded up; at least 1.

    A thread pool larger than the quota is throttled by the kernel in the middle of a call.
    """
    cores, quota = affinity(), cpu_quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def affinity() -> int:
    """The cores that this process may run on; all cores if the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(cgroup: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The cores that the cgroup (v2, else v1) may use on average; None: no quota."""
    return _quota_v2(cgroup) or _quota_v1(cgroup)


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
