"""Engines that compute nothing, and take stated time of clocks that stand still otherwise."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.engine.backend import Embeddings
from clipserve.engine.in_process import Feeds
from clipserve.errors import BackendUnavailable
from tests.support.virtual_time import HandClock

INPUTS: dict[str, Feeds] = {
    IMAGE_GRAPH: {"pixels": np.zeros((2, 1))},
    TEXT_GRAPH: {"token_ids": 0, "lengths": 0},
}
WALL, CPU = HandClock(0.0), HandClock(0.0)  # time goes on only where an engine computes


@pytest.fixture(autouse=True)
def clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", WALL)
    monkeypatch.setattr(time, "process_time", CPU)


@dataclass
class Arithmetic:
    """An engine of stated CPU time on one thread, whose vectors are off the right ones by an angle.

    `waits`: seconds more of its calls, in turn, while another program has the core. `others`: CPU seconds of other
    threads of this process in the meantime. `row_cpu`: by rows of a call, the CPU time of a row.
    `fails_at`: load or run.
    """

    name: str
    cpu: float
    angle: float = 0.0
    fails_at: str = ""
    waits: Iterable[float] = ()
    others: float = 0.0
    row_cpu: Mapping[int, float] = field(default_factory=dict)
    loads: int = 0
    runs: list[str] = field(default_factory=list)
    loaded: bool = False
    precision: str | None = None
    on_gpu = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._waits: Iterator[float] = itertools.cycle([*self.waits] or [0.0])

    def load(self) -> Arithmetic:
        if self.fails_at == "load":
            raise BackendUnavailable("no such CPU")
        self.loads += 1
        self.loaded = True
        return self

    def lost(self) -> str | None:
        return None

    def close(self) -> None:
        self.loaded = False

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        if self.fails_at == "run":
            raise RuntimeError("no such shape")
        rows = len(feeds["pixels"]) if graph == IMAGE_GRAPH else 0
        cpu = rows * self.row_cpu[rows] if rows in self.row_cpu else self.cpu
        WALL.now += cpu + next(self._waits)
        CPU.now += cpu + self.others
        self.runs.append(self.name)
        return np.array([[np.cos(self.angle), np.sin(self.angle)]], np.float32)
