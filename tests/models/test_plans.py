"""TensorRT plans: what is recorded of them, and that no others are served. Programs stand in for TensorRT."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from models.errors import ModelsError
from models.plans import PLANS, RECORD_NAME, read_record, write_record
from models.tensorrt import trtexec_version
from models.triton_config import DEFAULTS
from models.triton_repository import write_repository
from service.clip.artifact import read_manifest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "models" / "demo"
MANIFEST = read_manifest(DEMO)

TRTEXEC = """#!/bin/sh
echo '&&&& RUNNING TensorRT.trtexec [TensorRT v{tag}] [b1] # trtexec'
for word in "$@"; do
  case $word in
    --saveEngine=*) plan=${{word#*=}} ;;
    --fp16) if [ {tag} -ge 110000 ]; then echo 'Unknown option: --fp16' >&2; exit 1; fi; precision=fp16 ;;
  esac
done
echo "a plan in ${{precision:-fp32}}" > "$plan"
"""
TENSORRT = """
__version__ = "{version}"
class Logger:
    WARNING = 0
    def __init__(self, level): pass
class BuilderFlag:
    {flag}
class Parts:
    cleared = []
    def set_flag(self, flag): pass
    def clear_flag(self, flag): self.cleared.append(flag)
    def set_shape(self, *shapes): pass
    def add_optimization_profile(self, profile): pass
class Builder:
    def __init__(self, logger): pass
    def create_network(self, flags): return Parts()
    def create_builder_config(self): return Parts()
    def create_optimization_profile(self): return Parts()
    def build_serialized_network(self, network, config):
        assert config.cleared == [0] * len(config.cleared) != [], "it is on by default"
        return b"a plan"
class OnnxParser:
    def __init__(self, network, logger): pass
    def parse_from_file(self, path): return True
"""


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """The demo model with something in the place of plans, recorded as fp16."""
    folder = Path(shutil.copytree(DEMO, tmp_path / "artifact", ignore=shutil.ignore_patterns("*.py")))
    for plan in PLANS.values():
        (folder / plan).write_bytes(plan.encode())
    write_record(folder, MANIFEST, "fp16", "10.3.0")
    return folder


def models(
    *arguments: str | Path, path: Path | str = "", python_path: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "models", *arguments],
        cwd=ROOT,
        env={"PATH": str(path), "PYTHONPATH": str(python_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def trtexec(folder: Path, tag: int) -> Path:
    """A folder for PATH with a program of this name."""
    folder.mkdir()
    (folder / "trtexec").write_text(TRTEXEC.format(tag=tag))
    (folder / "trtexec").chmod(0o755)
    return folder


def test_the_record_says_what_the_plans_are(artifact: Path) -> None:
    record = json.loads((artifact / RECORD_NAME).read_text())
    assert record == {
        "artifact": MANIFEST.fingerprint(),
        "precision": "fp16",
        "tensorrt": "10.3.0",
        "files": {plan: hashlib.sha256(plan.encode()).hexdigest() for plan in ("image.plan", "text.plan")},
    }
    assert read_record(artifact, MANIFEST).precision == "fp16"


@pytest.mark.parametrize(("precision", "own"), [("fp16", False), ("fp32", True)])
def test_triton_is_told_the_precision_that_computes(artifact: Path, precision: str, own: bool) -> None:
    write_record(artifact, MANIFEST, "fp16" if precision == "fp16" else "fp32", None)
    out = artifact.with_name("out")
    for model in write_repository(artifact, out, DEFAULTS["tensorrt"]):
        config = text_format.Parse((out / model / "config.pbtxt").read_text(), pb.ModelConfig())
        told = {key: value.string_value for key, value in config.parameters.items()}
        expected = MANIFEST.fingerprint() if own else MANIFEST.fingerprint(precision="fp16")
        assert told == {"fingerprint": expected, "precision": precision}


def test_without_plans_the_precision_is_the_artifact_s(artifact: Path) -> None:
    """The plans that lie beside the graphs are not what onnxruntime runs."""
    out = artifact.with_name("out")
    write_repository(artifact, out, DEFAULTS["onnxruntime"])
    config = text_format.Parse((out / "demo_text" / "config.pbtxt").read_text(), pb.ModelConfig())
    assert config.parameters["fingerprint"].string_value == MANIFEST.fingerprint()
    assert config.parameters["precision"].string_value == "fp32"


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove_record, "plans.json is not there"),
        (spoil_record, "plans.json is not a record of plans"),
        (replace_plan, r"text\.plan has SHA-256"),
        (record_one_plan, r"text\.plan has SHA-256"),
        (export_again, "were built from demo@fp32-4010a7ecf93d, but the artifact there is demo@fp32-"),
    ],
)
def test_plans_that_the_record_does_not_vouch_for_are_refused(
    artifact: Path, change: Callable[[Path], None], words: str
) -> None:
    change(artifact)
    with pytest.raises(ModelsError, match=f"{words}.*again, on a GPU: `clipserve models tensorrt"):
        write_repository(artifact, artifact.with_name("out"), DEFAULTS["tensorrt"])
    assert not artifact.with_name("out").exists()


@pytest.mark.parametrize(("options", "precision"), [((), "fp16"), (("--fp32",), "fp32")])
def test_the_command_records_what_trtexec_built(
    artifact: Path, tmp_path: Path, options: tuple[str, ...], precision: str
) -> None:
    remove_record(artifact)
    result = models("tensorrt", artifact, *options, path=trtexec(tmp_path / "bin", 101301))
    assert result.returncode == 0, result.stderr
    record = read_record(artifact, MANIFEST)
    assert (record.precision, record.tensorrt) == (precision, "10.13.1")
    assert (artifact / "text.plan").read_text() == f"a plan in {precision}\n"
    assert f"demo@{precision}-" in result.stdout


def test_the_command_records_what_the_python_package_built(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "tensorrt.py").write_text(TENSORRT.format(version="10.9.0.34", flag="TF32, FP16 = 0, 1"))
    result = models("tensorrt", artifact, python_path=tmp_path)
    assert result.returncode == 0, result.stderr
    record = read_record(artifact, MANIFEST)
    assert (record.precision, record.tensorrt) == ("fp16", "10.9.0.34")


@pytest.mark.parametrize("way", ["trtexec", "python"])
def test_on_tensorrt_11_fp16_is_refused_and_fp32_is_built(artifact: Path, tmp_path: Path, way: str) -> None:
    path = trtexec(tmp_path / "bin", 110000) if way == "trtexec" else ""
    if way == "python":
        (tmp_path / "tensorrt.py").write_text(TENSORRT.format(version="11.0.0.114", flag="TF32 = 0"))
    refused = models("tensorrt", artifact, path=path, python_path=tmp_path)
    assert refused.returncode == 1
    assert "has no fp16 mode: build with --fp32." in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    built = models("tensorrt", artifact, "--fp32", path=path, python_path=tmp_path)
    assert built.returncode == 0, built.stderr
    record = read_record(artifact, MANIFEST)
    assert (record.precision, (record.tensorrt or "")[:6]) == ("fp32", "11.0.0")


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --onnx=x", "10.3.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=x", "8.6.1"),
        ("[07/30/2026-15:30:36] [I] TensorRT version: 10.6.0", "10.6.0"),
        ("&&&& RUNNING TensorRT.trtexec # trtexec --onnx=x", None),
    ],
)
def test_trtexec_s_version_is_read_from_its_own_words(output: str, version: str | None) -> None:
    assert trtexec_version(output) == version
