"""The script that builds TensorRT plans elsewhere, and which plans are served. Programs stand in for NVIDIA's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO
from clipserve_models.errors import ModelsError
from clipserve_models.triton_options import options_of
from clipserve_models.triton_plans import KEY_NAME, command, write_lines
from clipserve_models.triton_repository import write_repository
from clipserve_models.triton_towers import towers

MANIFEST = read_manifest(DEMO)
OPTIONS = options_of("tensorrt")
GPU = "NVIDIA H100 80GB HBM3"
SLICE = f"{GPU}\n  MIG 1g.10gb     Device  0: (UUID: MIG-0)"  # of a GPU, as `nvidia-smi -L` lists it

# As the real one it tells its version whatever it is asked, and refuses words that TensorRT 11 does not know.
_TRTEXEC = """#!/bin/sh
echo '&&&& RUNNING TensorRT.trtexec [TensorRT v{tag}] [b1] # trtexec'
profiles=0 shapes=0 strong=no tf32=yes
for word in "$@"; do
  case $word in
    --onnx=*) [ -f "${{word#*=}}" ] || exit 1 ;;
    --saveEngine=*) plan=${{word#*=}} ;;
    --profile=$profiles) profiles=$((profiles + 1)) ;;
    --minShapes=*x0* | --profile=*) echo "bad $word"; exit 1 ;;
    --minShapes=*) shapes=$((shapes + 1)) ;;
    --optShapes=* | --maxShapes=* | --skipInference) ;;
    --stronglyTyped) strong=yes ;;
    --noTF32) tf32=no ;;
    --help) exit 0 ;;
    *) echo "Unknown option: $word"; exit 1 ;;
  esac
done
echo built >>"$(dirname "$0")/calls"
echo "{tag} strong=$strong tf32=$tf32 profiles=$profiles shapes=$shapes" >"$plan"
"""


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """The demo model where it can be written to."""
    return Path(shutil.copytree(DEMO, tmp_path / "demo", ignore=shutil.ignore_patterns("*.py", "*.md")))


def run(script: Path, gpu: str = GPU, tag: int = 101301) -> subprocess.CompletedProcess[str]:
    """Run the script where these programs are TensorRT's and the driver's."""
    programs = script.parent.with_name("programs")
    programs.mkdir(exist_ok=True)
    told = {"trtexec": _TRTEXEC.format(tag=tag), "nvidia-smi": f"#!/bin/sh\necho '{gpu}'\n"}
    for name, text in told.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return subprocess.run(["sh", script], env={"PATH": path}, capture_output=True, text=True, check=False)


def built(artifact: Path) -> int:
    """How many plans were built so far."""
    calls = artifact.with_name("programs") / "calls"
    return len(calls.read_text().split()) if calls.exists() else 0


@pytest.mark.parametrize("tag", [101200, 110000])
def test_what_the_script_builds_is_served(artifact: Path, tmp_path: Path, tag: int) -> None:
    done = run(write_lines(artifact, OPTIONS), tag=tag)
    assert done.returncode == 0, done.stderr
    write_repository(artifact, tmp_path / "out", OPTIONS)
    run(artifact / "plans.sh", tag=120000)  # what is built again changes no repository
    assert (artifact / "text.plan").read_text().startswith("120000")
    for model, profiles, shapes in (("demo_text", 3, 3), ("demo_image", 0, 1)):
        plan = (tmp_path / "out" / model / "1" / "model.plan").read_text()
        assert plan == f"{tag} strong=yes tf32=no profiles={profiles} shapes={shapes}\n"


def test_plans_are_built_again_only_for_another_gpu_another_tensorrt_or_other_lines(artifact: Path) -> None:
    script = write_lines(artifact, OPTIONS)
    for gpu, tag, plans in [
        (GPU, 101301, 2),
        (GPU, 101301, 2),
        (SLICE, 101301, 4),
        (SLICE, 101400, 6),
    ]:
        assert run(script, gpu, tag).returncode == 0
        assert built(artifact) == plans
    assert f"gpu {GPU} MIG 1g.10gb\n" in (artifact / KEY_NAME).read_text()
    run(write_lines(artifact, options_of("tensorrt", max_batch_texts=256)), SLICE, 101400)
    assert built(artifact) == 8


def test_a_tensorrt_that_is_too_old_is_told_so_before_it_builds(artifact: Path) -> None:
    done = run(write_lines(artifact, OPTIONS), tag=101100)
    assert done.returncode == 1
    assert "TensorRT 101100 is older than 101200" in done.stderr
    assert "image of the same month as the Triton image" in done.stderr
    assert built(artifact) == 0


def test_plans_of_a_build_that_failed_was_broken_off_or_is_another_artifact_s_are_not_served(
    artifact: Path, tmp_path: Path
) -> None:
    def refused(said: str) -> None:
        with pytest.raises(ModelsError, match=f"{said}.*`clipserve models plan-lines .* run it on the GPU"):
            write_repository(artifact, tmp_path / "out", OPTIONS)
        assert not (tmp_path / "out").exists()

    script = write_lines(artifact, OPTIONS)
    run(script)
    lines = script.read_text()
    script.write_text(lines.replace("--skipInference", "--fp16"))
    done = run(script)
    assert (done.returncode, "Unknown option: --fp16" in done.stderr) == (1, True)
    refused(r"image\.plan is not there")
    script.write_text(lines)
    run(script)
    key = (artifact / KEY_NAME).rename(artifact / "away")
    refused(r"plans\.key is not there")
    key.rename(artifact / KEY_NAME)
    text = MANIFEST.text.model_copy(update={"cleaning": "lower"})
    (artifact / "model.json").write_text(MANIFEST.model_copy(update={"text": text}).model_dump_json())
    refused(f"were built from {MANIFEST.fingerprint()}, but the artifact there is demo@fp32-")


def test_a_profile_is_for_each_length_up_to_a_full_batch(artifact: Path) -> None:
    image, text = (command(tower, "plan") for tower in towers(MANIFEST, OPTIONS))
    assert [word for word in text if word.startswith("--minShapes")] == [
        f"--minShapes=token_ids:1x{length},lengths:1" for length in (16, 32, 77)
    ]
    assert text[3:7] == [
        "--profile=0",
        "--minShapes=token_ids:1x16,lengths:1",
        "--optShapes=token_ids:256x16,lengths:256",
        "--maxShapes=token_ids:512x16,lengths:512",
    ]
    assert image[3:6] == [
        "--minShapes=pixels:1x256x256x3",
        "--optShapes=pixels:64x256x256x3",  # a full call of a gateway
        "--maxShapes=pixels:128x256x256x3",  # two of them, which Triton puts together
    ]
    few, _ = towers(MANIFEST, options_of("tensorrt", max_batch_images=8))
    assert "--optShapes=pixels:8x256x256x3" in command(few, "plan")
