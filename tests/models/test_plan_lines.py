"""The script that builds plans elsewhere: what it runs, and when nothing. Programs stand in for NVIDIA's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from models.errors import ModelsError
from models.plan_lines import record, write_lines
from models.plans import read_record
from models.triton_config import DEFAULTS
from models.triton_repository import write_repository
from service.clip.artifact import read_manifest

DEMO = Path(__file__).parents[2] / "models" / "demo"
TRTEXEC = """#!/bin/sh
echo '&&&& RUNNING TensorRT.trtexec [TensorRT v{tag}] [b1] # trtexec'
for word in "$@"; do
  case $word in
    --onnx=*) [ -f "${{word#*=}}" ] || exit 1 ;;
    --saveEngine=*) echo "built" >> calls; echo "a plan" > "${{word#*=}}" ;;
    --fp16) if [ {tag} -ge 110000 ]; then echo 'Unknown option: --fp16'; exit 1; fi ;;
  esac
done
"""


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO, tmp_path / "demo", ignore=shutil.ignore_patterns("*.py", "*.md")))


def run(script: Path, gpu: str = "A GPU", tag: int = 101301) -> subprocess.CompletedProcess[str]:
    """Run the script where these programs are TensorRT's and the driver's."""
    programs = script.parent.with_name("programs")
    programs.mkdir(exist_ok=True)
    for name, text in {
        "trtexec": TRTEXEC.format(tag=tag),
        "nvidia-smi": f"#!/bin/sh\necho '{gpu}'\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.run(["sh", script], env={"PATH": path}, capture_output=True, text=True, check=False)


def built(artifact: Path) -> int:
    """How many plans were built so far."""
    return len((artifact / "calls").read_text().split())


def test_what_the_script_builds_can_be_recorded_and_served(artifact: Path, tmp_path: Path) -> None:
    done = run(write_lines(artifact, DEFAULTS["tensorrt"], fp16=True))
    assert done.returncode == 0, done.stderr
    made = record(artifact, fp16=True)
    assert (made.precision, made.tensorrt) == ("fp16", "10.13.1")
    assert read_record(artifact, read_manifest(artifact)) == made
    assert write_repository(artifact, tmp_path / "out", DEFAULTS["tensorrt"])


def test_plans_are_built_again_only_for_another_gpu_another_tensorrt_or_other_lines(artifact: Path) -> None:
    script = write_lines(artifact, DEFAULTS["tensorrt"], fp16=True)
    for gpu, tag, plans in [
        ("A GPU", 101301, 2),
        ("A GPU", 101301, 2),
        ("Another", 101301, 4),
        ("Another", 101400, 6),
    ]:
        assert run(script, gpu, tag).returncode == 0
        assert built(artifact) == plans
    run(write_lines(artifact, DEFAULTS["tensorrt"], fp16=False), "Another", 101400)
    assert built(artifact) == 8


def test_a_build_that_fails_says_why_and_leaves_nothing_to_record(artifact: Path) -> None:
    done = run(write_lines(artifact, DEFAULTS["tensorrt"], fp16=True), tag=110000)
    assert done.returncode == 1
    assert "Unknown option: --fp16" in done.stderr
    with pytest.raises(ModelsError, match=r"has no \w+\.plan: run its plans\.sh"):
        record(artifact, fp16=True)


def test_plans_of_a_build_that_was_broken_off_are_not_recorded(artifact: Path) -> None:
    script = write_lines(artifact, DEFAULTS["tensorrt"], fp16=False)
    assert run(script).returncode == 0
    (artifact / "plans.key").unlink()
    with pytest.raises(ModelsError, match=r"has no plans\.key"):
        record(artifact, fp16=False)
