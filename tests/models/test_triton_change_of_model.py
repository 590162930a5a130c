"""A model repository after another artifact has been written into it: Triton loads all that is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clipserve.demo import FOLDER as DEMO
from tests.models.asking import ask
from tests.process import demo_named


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return demo_named("other", tmp_path)


def write(out: Path, *artifacts: Path) -> str:
    done = ask("triton", *map(str, artifacts), "--device", "cpu", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return done.stdout


def models(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def test_models_of_another_artifact_are_removed(tmp_path: Path, other: Path) -> None:
    out = tmp_path / "out"
    write(out, DEMO)
    assert "demo_image and demo_text removed" in write(out, other)
    assert models(out) == ["other_image", "other_text"]
    assert "removed" not in write(out, other)


def test_artifacts_that_are_written_together_stay(tmp_path: Path, other: Path) -> None:
    out = tmp_path / "out"
    write(out, DEMO, other)
    assert models(out) == ["demo_image", "demo_text", "other_image", "other_text"]


def test_what_others_have_written_stays(tmp_path: Path, other: Path) -> None:
    out = tmp_path / "out"
    write(out, DEMO)
    theirs = ["a_file", "demo_image", "linked", "with_a_configuration", "without_one"]
    (out / "a_file").touch()
    (out / "demo_image" / "config.pbtxt").write_text('name: "demo_image"')
    shutil.move(out / "demo_text", tmp_path / "elsewhere")
    (out / "linked").symlink_to(tmp_path / "elsewhere")
    shutil.copytree(out / "demo_image", out / "with_a_configuration")
    (out / "without_one").mkdir()
    write(out, other)
    assert models(out) == sorted([*theirs, "other_image", "other_text"])


def test_a_model_that_cannot_be_written_removes_nothing(tmp_path: Path, other: Path) -> None:
    out = tmp_path / "out"
    write(out, DEMO)
    (other / "text.onnx").write_bytes(b"")
    assert ask("triton", str(other), "--out", str(out)).returncode == 1
    assert models(out) == ["demo_image", "demo_text"]
