"""Processes that want models at once, and some that are killed meanwhile."""

from __future__ import annotations

import atexit
import subprocess
import sys
from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.settings import Settings
from clipserve.wiring.model_names import NoSuchModel, find
from tests.model_names.exporter import Exporter, left_in
from tests.support.process import waited_until

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


def providing(name: str = "ViT-B-32") -> subprocess.Popen[str]:
    """A process of its own that wants this model."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROVIDE, name],
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


def result(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The folder that it was given, and what it logged."""
    out, log = process.communicate(timeout=SECONDS)
    return out.strip(), log


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
    assert left_in(cache) == {"ViT-B-32"}
    assert read_manifest(cache / "ViT-B-32").name == "ViT-B-32"
