"""The machine as the kernel describes it. Tests give other folders in place of /proc, /sys/fs/cgroup and /dev."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED_V1 = 1 << 60  # cgroup v1 writes a number near 2**63 for "no limit"


@dataclass(frozen=True)
class Limit:
    """A limit of a cgroup, and the folder that has it. Cores, or bytes."""

    value: float
    of: str


@dataclass(frozen=True)
class Machine:
    """Where its facts are. `nvml`, `cuda`: NVIDIA's libraries, as the dynamic linker finds them."""

    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")
    dev: Path = Path("/dev")
    nvml: str = "libnvidia-ml.so.1"
    cuda: str = "libcuda.so.1"

    def cpu_flags(self) -> frozenset[str]:
        """Of the first CPU, as /proc/cpuinfo has them: `flags`, on ARM `Features`. Empty where it has none."""
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", _text(self.proc / "cpuinfo"), re.MULTILINE)
        return frozenset(found[1].split()) if found else frozenset()

    def cpu_name(self) -> str:
        found = re.search(r"^(?:model name|Hardware)\s*:\s*(.*)$", _text(self.proc / "cpuinfo"), re.MULTILINE)
        return found[1].strip() if found else "a CPU without a name"

    def memory_bytes(self) -> int | None:
        """The RAM of the machine; None where /proc does not say."""
        found = re.search(r"^MemTotal:\s*(\d+) kB", _text(self.proc / "meminfo"), re.MULTILINE)
        return int(found[1]) * 1024 if found else None

    def cpu_limit(self) -> Limit | None:
        """The least CPU quota of this process's cgroup and of those around it, in cores."""
        limits = [
            *self._limits("", "cpu.max", _quota_v2),
            *self._limits("cpu", "cpu.cfs_quota_us", _quota_v1),
        ]
        return min(limits, key=lambda limit: limit.value, default=None)

    def memory_limit(self) -> Limit | None:
        """The same of memory, in bytes."""
        limits = [
            *self._limits("", "memory.max", _number),
            *self._limits("memory", "memory.limit_in_bytes", _number),
        ]
        return min(limits, key=lambda limit: limit.value, default=None)

    def _limits(self, controller: str, name: str, read: Callable[[Path], float | None]) -> Iterator[Limit]:
        """That of this process's cgroup first, then of those around it. `controller`: of v1; "" for v2."""
        for folder in self._cgroup_folders(controller):
            value = read(folder / name)
            if value is not None:
                yield Limit(value, str(folder))

    def _cgroup_folders(self, controller: str) -> Iterator[Path]:
        root = self.cgroup / controller if controller else self.cgroup
        own = Path()
        for line in _text(self.proc / "self" / "cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):  # v2 is the line without a controller
                own = Path(path.lstrip("/"))
        if ".." in own.parts:  # another namespace's
            own = Path()
        yield from dict.fromkeys((root / own, *(root / each for each in own.parents), root))


def _quota_v2(path: Path) -> float | None:
    quota, _, period = _text(path).strip().partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _quota_v1(path: Path) -> float | None:
    quota, period = _number(path), _number(path.with_name("cpu.cfs_period_us"))
    return quota / period if quota and period else None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() and int(text) < _UNLIMITED_V1 else None


def _text(path: Path) -> str:
    """Empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
