"""Processes that want one model at once, and some that are killed meanwhile."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.settings import Settings
from clipserve.wiring.model_names import NoSuchModel, find
from tests.model_names.exporter import Exporter, left_in
from tests.process import UNPRIVILEGED, waited_until

NAME = Path("ViT-B-32")
_PROVIDE = """
import sys
from pathlib import Path
from clipserve.settings import Settings
from clipserve.wiring.model_names import provide
from clipserve.telemetry import log
log.configure("INFO", sys.stderr)
print(provide(Path(sys.argv[1]), Settings()))
"""
SECONDS = 300  # to notice a hang


def providing(name: str = "ViT-B-32", before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A process of its own that wants this model. `before`: what runs it."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", _PROVIDE, name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.kill)  # a test that fails does not leave it behind
    return process


def exporting(cache: Path, name: str = "ViT-B-32") -> subprocess.Popen[str]:
    """One whose exporter has written its first file, and waits."""
    process, first = providing(name), cache / f".{name}.partial/image.onnx"
    waited_until(first.exists, said=process.communicate)
    return process


def waiting() -> subprocess.Popen[str]:
    """One that has seen that another process exports."""
    process = providing()
    assert process.stderr is not None
    assert "waiting_for_export" in process.stderr.readline()
    return process


def result(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The folder that it was given, and what it logged."""
    out, log = process.communicate(timeout=SECONDS)
    return out.strip(), log


def test_two_at_once_export_once(cache: Path, waiting_exporter: Exporter) -> None:
    both = [exporting(cache), waiting()]
    waiting_exporter.go_on()
    assert [result(each)[0] for each in both] == [f"{cache}/ViT-B-32"] * 2
    assert waiting_exporter.runs == ["export ViT-B-32"]


def test_two_models_are_exported_side_by_side(cache: Path, waiting_exporter: Exporter) -> None:
    both = [exporting(cache, name) for name in ("ViT-B-32", "ViT-L-14")]
    waiting_exporter.go_on()
    assert [result(each)[0] for each in both] == [f"{cache}/ViT-B-32", f"{cache}/ViT-L-14"]


def test_what_was_killed_half_way_is_exported_again_by_the_next(
    cache: Path, waiting_exporter: Exporter
) -> None:
    killed = exporting(cache)
    killed.kill()
    result(killed)
    waiting_exporter.go_on()  # it ends at its next word
    with pytest.raises(NoSuchModel):
        find(NAME, Settings(cache_dir=cache))

    folder, log = result(providing())
    assert folder == f"{cache}/ViT-B-32", log
    assert waiting_exporter.runs == ["export ViT-B-32"] * 2
    assert left_in(cache) == {"ViT-B-32", ".ViT-B-32.lock"}
    assert read_manifest(cache / "ViT-B-32").name == "ViT-B-32"


def test_an_exporter_that_outlives_its_start_is_waited_for(cache: Path, waiting_exporter: Exporter) -> None:
    killed = exporting(cache)
    killed.kill()
    result(killed)
    next_one = waiting()
    os.kill(waiting_exporter.pid, signal.SIGKILL)
    waiting_exporter.go_on()
    assert result(next_one)[0] == f"{cache}/ViT-B-32"


def test_a_lock_that_another_user_left_is_taken(cache: Path, exporter: Exporter) -> None:
    cache.mkdir()
    (cache / ".ViT-B-32.lock").touch(0o444)  # who may not write to it, whoever's it is
    folder, log = result(providing(before=UNPRIVILEGED))
    assert folder == f"{cache}/ViT-B-32", log
    assert left_in(cache) == {"ViT-B-32", ".ViT-B-32.lock"}


def test_ctrl_c_ends_the_exporter_too(cache: Path, waiting_exporter: Exporter) -> None:
    ended = exporting(cache)
    ended.send_signal(signal.SIGINT)
    result(ended)
    waiting_exporter.go_on()
    assert "waiting_for_export" not in result(providing())[1]
