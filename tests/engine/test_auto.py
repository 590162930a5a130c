"""The engine is chosen by a trial, and never for speed alone; the next start knows it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve.engine.backends.auto import Fastest, file_of_trial, open_fastest
from clipserve.engine.in_process import EngineOptions
from clipserve.errors import BackendUnavailable
from tests.engine.arithmetic import INPUTS, Arithmetic, clocks
from tests.support.logs import Log

__all__ = ["clocks"]  # of all tests here


@pytest.mark.parametrize(
    ("challenger", "chosen", "trial"),
    [
        pytest.param(Arithmetic("b", 0.05), "b", "kept", id="a faster one"),
        pytest.param(Arithmetic("b", 0.2), "a", "kept", id="a slower one"),
        pytest.param(Arithmetic("b", 0.05, others=9.0), "a", "not kept", id="one that cannot be judged"),
        pytest.param(Arithmetic("b", 0.01, fails_at="load"), "a", "not kept", id="one that cannot be loaded"),
        pytest.param(Arithmetic("b", 0.01, fails_at="run"), "a", "not kept", id="one that does not run"),
    ],
)
def test_the_winner_alone_stays_in_memory_and_what_was_decided_is_kept(
    challenger: Arithmetic, chosen: str, trial: str, tmp_path: Path
) -> None:
    standard, kept = Arithmetic("a", 0.1), tmp_path / "new" / "kept"
    opened = Fastest(standard, challenger, lambda: INPUTS, 1, kept)
    loaded = opened.load()
    assert loaded.name == chosen
    assert (standard.loaded, challenger.loaded) == (chosen == "a", chosen == "b")
    assert (loaded.facts["trial"], kept.exists()) == (trial, trial == "kept")
    if kept.exists():
        facts = json.loads(kept.read_text())
        assert (facts["engine"], facts["ms_per_call"]) == (chosen, {"a": 100.0, "b": 1000 * challenger.cpu})
        assert kept.stat().st_mode & 0o777 == 0o644, "whoever else uses the cache may read it"
        assert [path.name for path in kept.parent.iterdir()] == ["kept"]


def test_a_standard_that_cannot_be_loaded_ends_the_start() -> None:
    with pytest.raises(BackendUnavailable, match="no such CPU"):
        Fastest(Arithmetic("a", 0.0, fails_at="load"), Arithmetic("b", 0.1), lambda: INPUTS).load()


def test_the_one_that_was_chosen_before_is_loaded_alone_and_not_measured(tmp_path: Path) -> None:
    slow, fast, kept = Arithmetic("slow", 10.0), Arithmetic("fast", 10.0), tmp_path / "kept"
    kept.write_text(
        json.dumps({"engine": "fast", "ms_per_call": {"slow": 9.0, "fast": 5.0}, "batch_rows": 8})
    )
    opened = Fastest(slow, fast, lambda: INPUTS, 1, kept)
    assert (opened.load().name, slow.loads, fast.loads) == ("fast", 0, 1)
    assert fast.facts == {
        "trial": "kept before",
        "trial_ms_per_call": {"slow": 9.0, "fast": 5.0},
        "batch_rows": 8,
    }


def test_what_a_trial_did_not_decide_is_no_other_engine_when_it_is_loaded_again() -> None:
    standard, challenger = Arithmetic("a", 0.1), Arithmetic("b", 0.05, others=9.0)
    opened = Fastest(standard, challenger, lambda: INPUTS)
    assert opened.load() is standard
    opened.load().close()
    challenger.others = 0.0  # another trial would decide
    assert opened.load() is standard


@pytest.mark.parametrize(
    "content",
    [
        b'{"engine": "unknown", "ms_per_call": {}, "batch_rows": 4}',
        b"[]",
        b"b",
        b"",
        b"\xff",
        b" " * 70_000,
    ],
)
def test_a_file_that_names_no_engine_is_replaced_by_a_trial(tmp_path: Path, content: bytes) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(content)
    assert Fastest(Arithmetic("a", 0.1), Arithmetic("b", 0.2), lambda: INPUTS, 1, kept).load().name == "a"
    assert json.loads(kept.read_text())["engine"] == "a"


def test_where_the_engine_chosen_before_cannot_be_loaded_the_other_serves(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text(json.dumps({"engine": "b", "ms_per_call": {}, "batch_rows": 4}))
    broken = Arithmetic("b", 0.0, fails_at="load")
    assert Fastest(Arithmetic("a", 0.1), broken, lambda: INPUTS, 1, kept).load().name == "a"


def in_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "kept"


def on_a_full_disk(folder: Path) -> Path:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return folder / "kept"


@pytest.mark.parametrize("place", [in_a_file, on_a_full_disk])
def test_where_the_choice_cannot_be_kept_a_line_says_so(
    place: Callable[[Path], Path], tmp_path: Path, written: Log
) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        opened = Fastest(Arithmetic("a", 0.1), Arithmetic("b", 0.05), lambda: INPUTS, 1, place(tmp_path))
        chosen = opened.load()
        assert chosen.name == "b"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "engine_not_kept" in written.getvalue()
    assert chosen.facts["trial"] == "not kept"
    assert not [path for path in tmp_path.iterdir() if path.name != "file"]


def test_engines_are_tried_again_when_something_has_changed_that_may_decide(
    tmp_path: Path, written: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipserve.engine.backends.auto.computes_bf16", lambda: True)
    for module, library, cpu in (
        ("auto.OnnxEngine", "onnxruntime", 0.1),
        ("auto.open_openvino", "openvino", 0.05),
    ):
        made = Arithmetic(library, cpu)
        monkeypatch.setattr(f"clipserve.engine.backends.{module}", lambda *_, made=made, **_options: made)
    manifest = read_manifest(DEMO)

    def trials_of_a_start(threads: int, cache_dir: Path | None = tmp_path) -> int:
        before = written.getvalue().count("engine_tried")
        options = EngineOptions(cuda=False, threads=threads, workers=1, cache_dir=cache_dir)
        open_fastest(DEMO, manifest, options, lambda: INPUTS).load().close()
        return written.getvalue().count("engine_tried") - before

    assert [trials_of_a_start(threads=1), trials_of_a_start(threads=1)] == [1, 0]
    assert trials_of_a_start(threads=2) == 1
    for fact in ("processor", "cpu_quota", "usable_cores"):
        monkeypatch.setattr(f"clipserve.engine.backends.auto.{fact}", lambda: "another one")
        assert [trials_of_a_start(threads=1), trials_of_a_start(threads=1)] == [1, 0]
    monkeypatch.setattr("clipserve.engine.backends.auto.__version__", "99")
    assert [trials_of_a_start(threads=1), trials_of_a_start(threads=1)] == [1, 0]
    assert trials_of_a_start(threads=1, cache_dir=None) == 1


def test_the_file_of_a_choice_begins_with_the_models_name(tmp_path: Path) -> None:
    file = file_of_trial(read_manifest(DEMO), EngineOptions(cache_dir=tmp_path))
    assert file is not None
    assert file.parent == tmp_path / ".engines"
    assert file.name.startswith("demo-")


def test_a_start_that_knows_the_engine_and_sees_no_gpu_imports_no_other_engine(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER
from clipserve.engine import cuda
from clipserve.engine.backends import auto
from clipserve.engine.in_process import EngineOptions
auto.computes_bf16 = lambda: True
options = EngineOptions(cuda=False, threads=1, workers=1, cache_dir=Path({str(tmp_path)!r}))
manifest = read_manifest(FOLDER)
kept = auto.file_of_trial(manifest, options)
kept.parent.mkdir()
kept.write_text('{{"engine": "openvino", "ms_per_call": {{}}, "batch_rows": 4}}')
cuda.gpus = lambda: ""
assert not cuda.chosen("auto")
engine = auto.open_fastest(Path(FOLDER), manifest, options, dict).load()
print(engine.name, "onnxruntime" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "openvino False"
