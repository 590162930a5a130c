"""TensorRT plans: what is recorded of them, and that no others are served. Programs stand in for TensorRT."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from clipserve_models.errors import ModelsError
from clipserve_models.plans import RECORD_NAME, PlansRecord, read_record, write_record
from clipserve_models.triton_options import DEFAULTS, options_of
from clipserve_models.triton_repository import write_repository
from clipserve_models.triton_towers import towers
from clipserve_models.trtexec import version_of
from tests.models.asking import ask
from tests.models.tensorrt import GPU, MANIFEST, TOWERS, demo_with_plans, programs

ROOT = Path(__file__).parents[2]
OPTIONS = DEFAULTS["tensorrt"]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return demo_with_plans(tmp_path / "artifact")


def models(*arguments: str | Path, path: Path | str = "") -> subprocess.CompletedProcess[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{path}:/usr/bin:/bin")
        return ask(*map(str, arguments))


def record_of(artifact: Path) -> PlansRecord:
    return read_record(artifact, MANIFEST, TOWERS)


def told(out: Path, model: str) -> dict[str, str]:
    config = text_format.Parse((out / model / "config.pbtxt").read_text(), pb.ModelConfig())
    return {key: value.string_value for key, value in config.parameters.items()}


def test_the_record_says_what_the_plans_are(artifact: Path) -> None:
    record = json.loads((artifact / RECORD_NAME).read_text())
    del record["profiles"]
    assert record == {
        "artifact": MANIFEST.fingerprint(),
        "tensorrt": "10.13.1",
        "gpu": GPU,
        "files": {plan: hashlib.sha256(plan.encode()).hexdigest() for plan in ("image.plan", "text.plan")},
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_plan_has_the_fingerprint_and_the_precision_of_its_artifact(
    artifact: Path, tmp_path: Path, precision: str
) -> None:
    made = json.loads((artifact / "model.json").read_text()) | {"precision": precision}
    (artifact / "model.json").write_text(json.dumps(made))
    manifest = MANIFEST.model_validate(made)
    write_record(artifact, manifest, TOWERS, "11.0.0", GPU)
    for model in write_repository(artifact, tmp_path / "out", OPTIONS):
        words = told(tmp_path / "out", model)
        assert words["fingerprint"] == manifest.fingerprint()
        assert words["fingerprint"].startswith(f"demo@{precision}-")
        assert words["precision"] == precision


def remove_record(folder: Path) -> None:
    (folder / RECORD_NAME).unlink()


def spoil_record(folder: Path) -> None:
    (folder / RECORD_NAME).write_text('{"precision": "fp7"}')


def replace_plan(folder: Path) -> None:
    (folder / "text.plan").write_bytes(b"a plan from somewhere else")


def record_one_plan(folder: Path) -> None:
    record = json.loads((folder / RECORD_NAME).read_text())
    del record["files"]["text.plan"]
    (folder / RECORD_NAME).write_text(json.dumps(record))


def export_again(folder: Path) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    manifest["text"]["cleaning"] = "lower"
    (folder / "model.json").write_text(json.dumps(manifest))


def build_for_fewer_rows(folder: Path) -> None:
    few = towers(MANIFEST, options_of("tensorrt", max_batch_texts=32))
    write_record(folder, MANIFEST, few, "10.13.1", GPU)


def build_for_the_lengths_of_a_cpu(folder: Path) -> None:
    write_record(folder, MANIFEST, towers(MANIFEST, replace(OPTIONS, device="cpu")), "10.13.1", GPU)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove_record, "plans.json is not there"),
        (spoil_record, "plans.json is not a record of plans"),
        (replace_plan, r"text\.plan has SHA-256"),
        (record_one_plan, r"text\.plan has SHA-256"),
        (export_again, f"were built from {MANIFEST.fingerprint()}, but the artifact there is demo@fp32-"),
        (
            build_for_fewer_rows,
            r"takes token_ids:32x16,lengths:32 or .*, but Triton is to send it token_ids:512x16,lengths:512 or ",
        ),
        (build_for_the_lengths_of_a_cpu, r"text\.plan takes token_ids:512x8,lengths:512 or "),
    ],
)
def test_plans_that_the_record_does_not_vouch_for_are_refused(
    artifact: Path, change: Callable[[Path], None], words: str
) -> None:
    change(artifact)
    with pytest.raises(ModelsError, match=f"{words}.*again, on a GPU: `clipserve models tensorrt"):
        write_repository(artifact, artifact.with_name("out"), OPTIONS)
    assert not artifact.with_name("out").exists()


def test_plans_for_another_gpu_than_that_of_this_machine_are_refused_unless_one_is_named(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(programs(tmp_path / "bin", gpu="NVIDIA L4")), prepend=":")
    with pytest.raises(ModelsError, match="name its GPU with --gpu"):
        write_repository(artifact, tmp_path / "out", OPTIONS)
    assert write_repository(artifact, tmp_path / "out", OPTIONS, GPU)


def test_the_command_compares_plans_with_what_it_is_told_of_the_server(
    artifact: Path, tmp_path: Path
) -> None:
    command = ("triton", artifact, "--backend", "tensorrt", "--out", tmp_path / "out", "--gpu", GPU)
    done = models(*command, "--tensorrt-version", "11.0.0")
    assert done.returncode == 1
    assert "Triton's image has 11.0.0" in done.stderr


def test_the_command_records_what_trtexec_built(artifact: Path, tmp_path: Path) -> None:
    remove_record(artifact)
    result = models("tensorrt", artifact, path=programs(tmp_path / "bin", 101200))
    assert result.returncode == 0, result.stderr
    record = record_of(artifact)
    assert (record.tensorrt, record.gpu) == ("10.12.0", GPU)
    assert (artifact / "text.plan").read_text() == "101200 strong=yes tf32=no profiles=3 shapes=3\n"
    assert f"{MANIFEST.fingerprint()}, TensorRT 10.12.0, {GPU}" in result.stdout


def test_a_tensorrt_below_10_12_is_refused_with_what_to_do(
    artifact: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = models("tensorrt", artifact, path=programs(tmp_path / "bin", 101100))
    assert result.returncode == 1
    built = capfd.readouterr().err
    assert "TensorRT 101100 is older than 101200" in built
    assert "image of the same month" in built
    assert "plans.sh has not built the plans" in result.stderr
    assert (artifact / "text.plan").read_text() == "text.plan", "nothing was built"


def test_without_a_gpu_no_plan_is_built(artifact: Path, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", 110000)
    (path / "nvidia-smi").write_text("#!/bin/sh\necho 'No devices were found'; exit 6\n")
    result = models("tensorrt", artifact, path=path)
    assert result.returncode == 1
    assert re.search(r"nvidia-smi finds no GPU here.*plan-lines", result.stderr)


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --onnx=x", "10.3.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v110000] [b114] # trtexec --onnx=x", "11.0.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=x", "8.6.1"),
        ("&&&& RUNNING TensorRT.trtexec # trtexec --onnx=x", None),
    ],
)
def test_trtexec_s_version_is_read_from_its_own_words(output: str, version: str | None) -> None:
    assert version_of(output) == version
