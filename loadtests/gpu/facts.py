"""The GPU: what it is, and how busy it was."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import threading
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

_FACTS = ("name", "driver_version", "memory.total", "power.limit", "compute_cap", "clocks.max.sm")
_SAMPLES = ("utilization.gpu", "memory.used", "power.draw")
_PERIOD = 0.5  # seconds between two samples


def gpu_facts() -> dict[str, str]:
    """The first GPU as nvidia-smi tells it; none without one."""
    values = _ask(_FACTS)
    return dict(zip(_FACTS, values, strict=True)) if values else {}


def slug(name: str) -> str:
    """A GPU's name as part of a file's: `nvidia-h100-80gb-hbm3`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@dataclass(frozen=True)
class Use:
    """Of the first GPU, during a run. `busy`: per cent of the time in which it computed; MiB; watts."""

    busy: float
    memory: float
    watts: float


class GpuUse:
    """Samples nvidia-smi for the time of the `with` block; afterwards `use` is what it was, None without a GPU."""

    def __init__(self) -> None:
        self.use: Use | None = None
        self._samples: list[list[float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._samples:
            busy, memory, watts = zip(*self._samples, strict=True)
            self.use = Use(statistics.mean(busy), max(memory), statistics.mean(watts))

    @property
    def data(self) -> dict[str, float] | None:
        """For a report."""
        return asdict(self.use) if self.use else None

    def _sample(self) -> None:
        while not self._stop.wait(_PERIOD):
            values = _ask(_SAMPLES)
            if not values:
                return
            self._samples.append([float(each) for each in values])


def _ask(fields: tuple[str, ...]) -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "--id=0"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return [each.strip() for each in done.stdout.split(",")] if done.returncode == 0 else []
