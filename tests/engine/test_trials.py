"""What a trial of engines has chosen is kept for the next start, and never believed without need."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.choice import EngineOptions, choose_engine
from clipserve.engine.trials import Trials
from tests.engine.test_fastest import INPUTS, Arithmetic


def test_what_a_trial_has_chosen_is_known_to_the_next_start(tmp_path: Path) -> None:
    Trials(tmp_path).keep("this machine", "openvino")
    Trials(tmp_path).keep("another machine", "onnxruntime")
    Trials(tmp_path).keep("this machine", "onnxruntime")
    assert Trials(tmp_path).recall("this machine") == "onnxruntime"
    assert Trials(tmp_path).recall("another machine") == "onnxruntime"
    assert Trials(tmp_path).recall("a third one") is None


def test_the_folder_is_made_and_where_it_cannot_be_nothing_is_kept(
    tmp_path: Path, written: io.StringIO
) -> None:
    trials = Trials(tmp_path / "new" / "cache")
    trials.keep("this machine", "openvino")
    assert trials.recall("this machine") == "openvino"
    (tmp_path / "file").touch()
    Trials(tmp_path / "file" / "cache").keep("this machine", "openvino")
    assert "engine_not_kept" in written.getvalue()


def test_the_latest_trials_are_kept(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    for number in range(65):
        trials.keep(str(number), "openvino")
    assert [trials.recall(number) for number in ("0", "1", "64")] == [None, "openvino", "openvino"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"this machine": 1}', b"\xff", b"[" * 60_000, b" " * 70_000]
)
def test_a_damaged_file_is_ignored_with_one_line_and_replaced(
    tmp_path: Path, written: io.StringIO, content: bytes
) -> None:
    (tmp_path / "engines.json").write_bytes(content)
    assert Trials(tmp_path).recall("this machine") is None
    assert written.getvalue().count("engines_tried_again") == 1
    Trials(tmp_path).keep("this machine", "openvino")
    assert Trials(tmp_path).recall("this machine") == "openvino"
    assert [path.name for path in tmp_path.iterdir()] == ["engines.json"]


def test_engines_are_tried_again_when_something_has_changed_that_may_decide(
    tmp_path: Path, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipserve.engine.openvino.computes_bf16", lambda: True)
    memory: list[str] = []
    for library, engine_class in (
        ("onnxruntime", "choice.OnnxEngine"),
        ("openvino", "openvino.OpenVinoEngine"),
    ):
        made = Arithmetic(library, 0.001, in_memory=memory)
        monkeypatch.setattr(f"clipserve.engine.{engine_class}", lambda *_, made=made: made)
    manifest = read_manifest(DEMO)

    def trials_of_a_start(threads: int, trials: Path | None = tmp_path) -> int:
        before = written.getvalue().count("engine_tried")
        engine = choose_engine(
            DEMO, manifest, EngineOptions("auto", False, threads, 1, cache_dir=trials), lambda: INPUTS
        )
        engine.load()
        engine.close()
        return written.getvalue().count("engine_tried") - before

    assert [trials_of_a_start(threads=1), trials_of_a_start(threads=1)] == [1, 0]
    assert trials_of_a_start(threads=2) == 1
    monkeypatch.setattr("clipserve.engine.choice.processor", lambda: "another one")
    assert [trials_of_a_start(threads=1), trials_of_a_start(threads=1)] == [1, 0]
    assert trials_of_a_start(threads=1, trials=None) == 1


def test_a_start_that_knows_the_engine_and_sees_no_gpu_imports_no_other_engine(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER
from clipserve.engine import choice, cuda, openvino
openvino.computes_bf16 = lambda: True
cuda.ask_driver = cuda.Driver
options = choice.EngineOptions("auto", False, 1, 1, cache_dir=Path({str(tmp_path)!r}))
manifest = read_manifest(FOLDER)
choice.Trials(options.cache_dir).keep(choice._trial(manifest, options), "openvino")
assert not cuda.Accelerator().chosen("auto")
engine = choice.choose_engine(Path(FOLDER), manifest, options, dict)
engine.load()
print(engine.name, "onnxruntime" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "openvino False"
