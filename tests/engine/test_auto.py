"""The engine is chosen by measuring, and never for speed alone; the next start knows it."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.backend import Embeddings
from clipserve.engine.backends.auto import Fastest, open_fastest
from clipserve.engine.in_process import EngineCall, EngineOptions, Feeds
from clipserve.errors import BackendUnavailable
from tests.logs import Log
from tests.virtual_time import HandClock

INPUTS: dict[str, Feeds] = {IMAGE_GRAPH: {"pixels": 0}, TEXT_GRAPH: {"token_ids": 0, "lengths": 0}}


CLOCK = HandClock(0.0)  # time goes on only where an engine computes


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", CLOCK)


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

    def load(self) -> Arithmetic:
        if self.fails_at == "load":
            raise BackendUnavailable("no such CPU")
        self.loads += 1
        self.in_memory.append(self.name)
        assert len(self.in_memory) == 1, "two engines in memory at a time"
        return self

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
        CLOCK.now += self.engine.seconds + self.engine.held_up * (self.engine.runs % 4 != 0)
        return np.array([[np.cos(self.engine.angle), np.sin(self.engine.angle)]], np.float32)

    def cancel(self) -> None: ...


def chosen(*engines: Arithmetic) -> str:
    memory: list[str] = []
    for engine in engines:
        engine.in_memory = memory
    fastest = Fastest(engines, lambda: INPUTS).load()
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


def test_one_call_that_is_faster_decides_and_what_wins_is_not_loaded_again() -> None:
    slow, fast = Arithmetic("slow", 0.02), Arithmetic("fast", 0.002)
    assert chosen(slow, fast) == "fast"
    assert (slow.loads, fast.loads) == (1, 1)
    assert (slow.runs, fast.runs) == (3 + 1, 1 + 1 + 1)  # images, texts; the last is of `chosen`


def test_what_stands_in_for_the_first_on_trial_does_not_serve() -> None:
    memory: list[str] = []
    first, brief, slower = (
        Arithmetic(name, seconds, in_memory=memory)
        for name, seconds in (("first", 0.02), ("brief", 0.02), ("slower", 0.03))
    )
    assert Fastest([first, slower], lambda: INPUTS, None, brief).load() is first
    assert (first.loads, first.runs, memory) == (1, 0, ["first"])


def test_a_faster_one_that_computes_something_else_is_not_taken() -> None:
    assert chosen(Arithmetic("right", 0.02), Arithmetic("wrong", 0.002, angle=0.033)) == "right"  # 0.99946
    assert chosen(Arithmetic("right", 0.02), Arithmetic("nan", 0.002, angle=float("nan"))) == "right"


@pytest.mark.parametrize(("fails_at", "said"), [("load", "no such CPU"), ("run", "no such shape")])
def test_one_that_cannot_run_is_passed_over_unless_it_is_the_standard(fails_at: str, said: str) -> None:
    assert chosen(Arithmetic("slow", 0.02), Arithmetic("broken", 0.0, fails_at=fails_at)) == "slow"
    with pytest.raises(BackendUnavailable, match=said):
        chosen(Arithmetic("broken", 0.0, fails_at=fails_at), Arithmetic("slow", 0.02))


def test_the_one_that_was_chosen_before_is_loaded_alone_and_not_measured(tmp_path: Path) -> None:
    slow, fast, kept = Arithmetic("slow", 10.0), Arithmetic("fast", 10.0), tmp_path / "kept"
    kept.write_text("fast")
    fastest = Fastest([slow, fast], lambda: INPUTS, kept).load()
    assert (fastest.name, slow.loads, fast.loads) == ("fast", 0, 1)


@pytest.mark.parametrize("content", [None, b"unknown", b"broken", b"", b"\xff", b" " * 70_000])
def test_what_a_trial_has_chosen_is_kept_also_where_what_was_chosen_before_fails(
    tmp_path: Path, content: bytes | None
) -> None:
    slow, broken = Arithmetic("slow", 0.002), Arithmetic("broken", 0.0, fails_at="load")
    kept = tmp_path / "new" / "kept"
    if content is not None:
        kept.parent.mkdir()
        kept.write_bytes(content)
    fastest = Fastest([slow, broken], lambda: INPUTS, kept).load()
    assert (fastest.name, kept.read_text()) == ("slow", "slow")
    assert kept.stat().st_mode & 0o777 == 0o644, "whoever else uses the cache may read it"
    assert [path.name for path in kept.parent.iterdir()] == ["kept"]


def test_where_the_choice_cannot_be_kept_a_line_says_so(tmp_path: Path, written: Log) -> None:
    (tmp_path / "file").touch()
    slow, fast = Arithmetic("slow", 0.02), Arithmetic("fast", 0.002)
    Fastest([slow, fast], lambda: INPUTS, tmp_path / "file" / "kept").load()
    assert "engine_not_kept" in written.getvalue()


def test_a_full_disk_keeps_nothing_of_the_choice(tmp_path: Path, written: Log) -> None:
    slow, fast = Arithmetic("slow", 0.02), Arithmetic("fast", 0.002)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, usual[1]))
    try:
        Fastest([slow, fast], lambda: INPUTS, tmp_path / "kept").load()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "engine_not_kept" in written.getvalue()
    assert not [*tmp_path.iterdir()]


def test_engines_are_tried_again_when_something_has_changed_that_may_decide(
    tmp_path: Path, written: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipserve.engine.backends.openvino.computes_bf16", lambda: True)
    memory: list[str] = []
    for module, library in (("auto.OnnxEngine", "onnxruntime"), ("openvino.open_openvino", "openvino")):
        made = Arithmetic(library, 0.001, in_memory=memory)
        monkeypatch.setattr(f"clipserve.engine.backends.{module}", lambda *_, made=made, **_options: made)
    manifest = read_manifest(DEMO)

    def trials_of_a_start(threads: int, cache_dir: Path | None = tmp_path) -> int:
        before = written.getvalue().count("engine_tried")
        options = EngineOptions(cuda=False, threads=threads, workers=1, cache_dir=cache_dir)
        open_fastest(DEMO, manifest, options, lambda: INPUTS).load().close()
        return written.getvalue().count("engine_tried") - before

    assert [trials_of_a_start(threads=1), trials_of_a_start(threads=1)] == [1, 0]
    assert trials_of_a_start(threads=2) == 1
    monkeypatch.setattr("clipserve.engine.backends.auto.processor", lambda: "another one")
    assert [trials_of_a_start(threads=1), trials_of_a_start(threads=1)] == [1, 0]
    assert trials_of_a_start(threads=1, cache_dir=None) == 1


def test_a_start_that_knows_the_engine_and_sees_no_gpu_imports_no_other_engine(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER
from clipserve.engine import cuda
from clipserve.engine.backends import auto, openvino
from clipserve.engine.in_process import EngineOptions
openvino.computes_bf16 = lambda: True
cuda.ask_driver = cuda.Driver
options = EngineOptions(cuda=False, threads=1, workers=1, cache_dir=Path({str(tmp_path)!r}))
manifest = read_manifest(FOLDER)
kept = auto.file_of_trial(manifest, options)
kept.parent.mkdir()
kept.write_text("openvino")
assert not cuda.Accelerator().chosen("auto")
engine = auto.open_fastest(Path(FOLDER), manifest, options, dict).load()
print(engine.name, "onnxruntime" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "openvino False"
