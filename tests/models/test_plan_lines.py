"""The scripts that build plans elsewhere: what they run, and when nothing. Programs stand in for NVIDIA's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from clipserve_models.errors import ModelsError
from clipserve_models.plan_lines import record, write_lines
from clipserve_models.plans import read_record
from clipserve_models.triton_options import DEFAULTS, options_of
from clipserve_models.triton_repository import write_repository
from clipserve_models.triton_server import gpu_here
from tests.models.tensorrt import GPU, MANIFEST, TOWERS, demo_copy, programs

OPTIONS = DEFAULTS["tensorrt"]
SLICE = f"{GPU}\n  MIG 1g.10gb     Device  0: (UUID: MIG-0)"  # of a GPU, as `nvidia-smi -L` lists it


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return demo_copy(tmp_path / "demo")


def run(
    script: Path, gpu: str = GPU, tag: int = 101301, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the script where these programs are TensorRT's and the driver's."""
    path = f"{programs(script.parent.with_name('programs'), tag, gpu)}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", script], env={"PATH": path} | variables, capture_output=True, text=True, check=False
    )


def built(artifact: Path) -> int:
    """How many plans were built so far."""
    calls = artifact.with_name("programs") / "calls"
    return len(calls.read_text().split()) if calls.exists() else 0


@pytest.mark.parametrize(("tag", "version"), [(101200, "10.12.0"), (101301, "10.13.1"), (110000, "11.0.0")])
def test_what_the_script_builds_can_be_recorded_and_served(
    artifact: Path, tmp_path: Path, tag: int, version: str
) -> None:
    done = run(write_lines(artifact, OPTIONS), tag=tag)
    assert done.returncode == 0, done.stderr
    made = record(artifact, OPTIONS)
    assert (made.artifact, made.tensorrt, made.gpu) == (MANIFEST.fingerprint(), version, GPU)
    assert read_record(artifact, MANIFEST, TOWERS) == made
    assert write_repository(artifact, tmp_path / "out", OPTIONS)


def test_plans_are_built_again_only_for_another_gpu_another_tensorrt_or_other_lines(artifact: Path) -> None:
    script = write_lines(artifact, OPTIONS)
    for gpu, tag, plans in [
        (GPU, 101301, 2),
        (GPU, 101301, 2),
        ("Another", 101301, 4),
        ("Another", 101400, 6),
    ]:
        assert run(script, gpu, tag).returncode == 0
        assert built(artifact) == plans
    run(write_lines(artifact, options_of("tensorrt", max_batch_texts=256)), "Another", 101400)
    assert built(artifact) == 8


def test_plans_that_are_built_again_change_no_repository_that_has_the_former_ones(
    artifact: Path, tmp_path: Path
) -> None:
    script = write_lines(artifact, OPTIONS)
    run(script)
    record(artifact, OPTIONS)
    write_repository(artifact, tmp_path / "out", OPTIONS)
    served = tmp_path / "out" / "demo_text" / "1" / "model.plan"
    run(script, tag=101400)
    assert (artifact / "text.plan").read_text().startswith("101400")
    assert served.read_text().startswith("101301")


@pytest.mark.parametrize("tag", [101100, 8601])
def test_a_tensorrt_that_is_too_old_is_told_so_before_it_builds(artifact: Path, tag: int) -> None:
    done = run(write_lines(artifact, OPTIONS), tag=tag)
    assert done.returncode == 1
    assert f"TensorRT {tag} is older than 101200" in done.stderr
    assert "image of the same month as the Triton image" in done.stderr
    assert built(artifact) == 0


def test_a_build_that_fails_says_why_and_leaves_nothing_to_record(artifact: Path) -> None:
    script = write_lines(artifact, OPTIONS)
    script.write_text(script.read_text().replace("--skipInference", "--fp16"))
    done = run(script)
    assert done.returncode == 1
    assert "Unknown option: --fp16" in done.stderr
    with pytest.raises(ModelsError, match=r"has no \w+\.plan: run its plans\.sh"):
        record(artifact, OPTIONS)


def test_plans_of_a_build_that_was_broken_off_are_not_recorded(artifact: Path) -> None:
    script = write_lines(artifact, OPTIONS)
    assert run(script).returncode == 0
    (artifact / "plans.key").unlink()
    with pytest.raises(ModelsError, match=r"has no plans\.key"):
        record(artifact, OPTIONS)


@pytest.mark.parametrize(
    ("gpu", "variable", "words"),
    [
        (GPU, "10.13.1.4+cuda12.9", None),
        (GPU, "", None),
        (GPU, "10.14.0.9", r"built with TensorRT 10\.13\.1, but Triton's image has 10\.14\.0\.9"),
        ("NVIDIA L4", "10.13.1.4", "built on NVIDIA H100 80GB HBM3, but Triton's GPU is NVIDIA L4"),
        (
            SLICE,
            "10.13.1.4",
            "built on NVIDIA H100 80GB HBM3, but Triton's GPU is NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        ),
    ],
)
def test_what_triton_s_image_has_decides_whether_its_plans_are_served(
    artifact: Path, tmp_path: Path, gpu: str, variable: str, words: str | None
) -> None:
    run(write_lines(artifact, OPTIONS))
    record(artifact, OPTIONS)
    facts = run(artifact / "triton-facts.sh", gpu, TRT_VERSION=variable)
    assert facts.returncode == 0, facts.stderr
    if words is None:
        assert write_repository(artifact, tmp_path / "out", OPTIONS)
        return
    with pytest.raises(ModelsError, match=f"{words}.*build them again there: `clipserve models tensorrt"):
        write_repository(artifact, tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()


def test_plans_for_a_slice_of_a_gpu_name_it_whoever_asks(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(write_lines(artifact, OPTIONS), SLICE)
    monkeypatch.setenv("PATH", f"{programs(tmp_path / 'programs', gpu=SLICE)}:{os.environ['PATH']}")
    assert record(artifact, OPTIONS).gpu == gpu_here() == f"{GPU} MIG 1g.10gb"
    assert write_repository(artifact, tmp_path / "out", OPTIONS), "this machine has the same slice"
