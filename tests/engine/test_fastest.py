"""The engine is chosen by measuring, and never for speed alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.engine.backend import Embeddings
from clipserve.engine.fastest import Fastest
from clipserve.engine.in_process import EngineCall, Feeds
from clipserve.errors import BackendUnavailable

INPUTS: dict[str, Feeds] = {IMAGE_GRAPH: {"pixels": 0}, TEXT_GRAPH: {"token_ids": 0, "lengths": 0}}


@dataclass
class Arithmetic:
    """An engine of stated speed whose vectors are off the right ones by an angle."""

    name: str
    seconds: float
    angle: float = 0.0
    precision: str | None = None
    fails_at: str = ""  # load or run
    loads: int = 0
    held_up: float = 0.0  # seconds more of three calls in four: another program has the cores
    runs: int = 0
    in_memory: list[str] = field(default_factory=list)
    on_gpu = False

    def load(self) -> None:
        if self.fails_at == "load":
            raise BackendUnavailable("no such CPU")
        self.loads += 1
        self.in_memory.append(self.name)
        assert len(self.in_memory) == 1, "two engines in memory at a time"

    def call(self, graph: str, feeds: Feeds) -> EngineCall:
        return Answer(self)

    def lost(self) -> str | None:
        return None

    def close(self) -> None:
        if self.name in self.in_memory:
            self.in_memory.remove(self.name)


@dataclass
class Answer:
    engine: Arithmetic

    def run(self) -> Embeddings:
        if self.engine.fails_at == "run":
            raise RuntimeError("no such shape")
        self.engine.runs += 1
        time.sleep(self.engine.seconds + self.engine.held_up * (self.engine.runs % 4 != 0))
        return np.array([[np.cos(self.engine.angle), np.sin(self.engine.angle)]], np.float32)

    def cancel(self) -> None: ...


def chosen(*engines: Arithmetic) -> str:
    memory: list[str] = []
    for engine in engines:
        engine.in_memory = memory
    fastest = Fastest(engines, INPUTS)
    fastest.load()
    assert memory == [fastest.name]
    assert fastest.call(IMAGE_GRAPH, {}).run().shape == (1, 2)
    return fastest.name


def test_the_faster_of_two_that_agree() -> None:
    slow, fast = Arithmetic("slow", 0.02), Arithmetic("fast", 0.002, angle=0.03)  # cosine 0.99955
    assert chosen(slow, fast) == "fast"
    assert chosen(fast, slow) == "fast"


def test_the_faster_one_is_found_on_a_machine_that_is_busy_while_it_is_tried() -> None:
    slow, fast = Arithmetic("slow", 0.05), Arithmetic("fast", 0.002, held_up=0.1)
    assert chosen(slow, fast) == "fast"


def test_what_is_in_memory_and_wins_is_not_loaded_again() -> None:
    slow, fast = Arithmetic("slow", 0.02), Arithmetic("fast", 0.002)
    assert chosen(slow, fast) == "fast"
    assert (slow.loads, fast.loads) == (1, 1)


def test_a_faster_one_that_computes_something_else_is_not_taken() -> None:
    assert chosen(Arithmetic("right", 0.02), Arithmetic("wrong", 0.002, angle=0.033)) == "right"  # 0.99946
    assert chosen(Arithmetic("right", 0.02), Arithmetic("nan", 0.002, angle=float("nan"))) == "right"


@pytest.mark.parametrize(("fails_at", "said"), [("load", "no such CPU"), ("run", "no such shape")])
def test_one_that_cannot_run_is_passed_over_unless_it_is_the_standard(fails_at: str, said: str) -> None:
    assert chosen(Arithmetic("slow", 0.02), Arithmetic("broken", 0.0, fails_at=fails_at)) == "slow"
    with pytest.raises(BackendUnavailable, match=said):
        chosen(Arithmetic("broken", 0.0, fails_at=fails_at), Arithmetic("slow", 0.02))


def test_a_single_engine_is_loaded_once_and_not_measured() -> None:
    only = Arithmetic("only", 10.0, precision="bf16")
    fastest = Fastest([only], INPUTS)
    fastest.load()
    assert only.loads == 1
    assert fastest.precision == "bf16"


def test_the_one_that_was_chosen_before_is_loaded_alone_and_not_measured() -> None:
    slow, fast, told = Arithmetic("slow", 10.0), Arithmetic("fast", 10.0), list[str]()
    fastest = Fastest([slow, fast], INPUTS, "fast", told.append)
    fastest.load()
    assert (fastest.name, slow.loads, fast.loads, told) == ("fast", 0, 1, [])


@pytest.mark.parametrize("recalled", [None, "unknown", "broken"])
def test_what_a_trial_has_chosen_is_told_also_where_what_was_chosen_before_fails(
    recalled: str | None,
) -> None:
    slow, broken, told = Arithmetic("slow", 0.002), Arithmetic("broken", 0.0, fails_at="load"), list[str]()
    fastest = Fastest([slow, broken], INPUTS, recalled, told.append)
    fastest.load()
    assert (fastest.name, told) == ("slow", ["slow"])
