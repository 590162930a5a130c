"""What is compared: an artifact in one precision on one backend of Triton's, and its repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from clipserve.settings.cache import CacheEnvironment
from loadtests.gpu import docker

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class Variant:
    """Attributes:
    backend: as `models triton --backend` takes it.
    tf32: fp32 is computed in TF32: for comparison alone, since a fingerprint of fp32 promises more.
    """

    name: str
    artifact: Path
    backend: Literal["python", "onnxruntime", "tensorrt"]
    tf32: bool = False

    @property
    def served(self) -> bool:
        """Whether a gateway may stand in front of it."""
        return not self.tf32


def variants(device: Device, fp32: Path, fp16: Path | None) -> list[Variant]:
    """All that are compared on this device."""
    if device == "cpu":
        return [Variant("python-fp32", fp32, "python")]
    made = [Variant("ort-fp32", fp32, "onnxruntime"), Variant("ort-tf32", fp32, "onnxruntime", tf32=True)]
    if fp16 is not None:
        made += [Variant("ort-fp16", fp16, "onnxruntime"), Variant("trt-fp16", fp16, "tensorrt")]
    return made


def export(
    model: str, photos: Path | None, python: Path = Path(".venv-export/bin/python")
) -> tuple[Path, Path]:
    """The artifacts of a model of the catalog in fp32 and fp16, in the cache; what is not there yet is made.

    Raises:
        SystemExit: the one in fp16 is to be made, and there are no photos to judge it by.
    """
    fp32 = CacheEnvironment().cache_dir / model
    fp16 = fp32.with_name(f"{fp32.name}@fp16")
    if not fp32.is_dir():
        _with_torch(python, "export", model)
    if not fp16.is_dir():
        if photos is None:
            raise SystemExit(
                f"{fp16} is not there. It is made if it is close enough to fp32 on photos like those that you "
                "serve: name their folder: --photos FOLDER. Or give --fp32 FOLDER alone."
            )
        _with_torch(python, "variant", fp32, "--precision", "fp16", "--photos", photos)
    return fp32, fp16


def _with_torch(python: Path, *words: str | Path) -> None:
    if not python.exists():
        subprocess.run(["make", ".venv-export/export.stamp"], check=True)
    subprocess.run([python, "-m", "clipserve_models", *words], check=True)


def write_repository(variant: Variant, work: Path, images: docker.Images | None) -> Path:
    """Triton's model repository of a variant, in `work`; plans are built first, in a copy of the artifact."""
    repository, artifact = work / f"repository-{variant.name}", variant.artifact
    if variant.backend == "tensorrt":
        assert images is not None
        artifact = Path(shutil.copytree(artifact, work / f"artifact-{variant.name}", dirs_exist_ok=True))
        for command in plan_commands(artifact, images):
            subprocess.run(command, check=True)
    _models("triton", artifact, "--backend", variant.backend, "--out", repository)
    if variant.tf32:
        allow_tf32(repository)
    return repository


def plan_commands(artifact: Path, images: docker.Images) -> list[list[str]]:
    """What builds plans in NVIDIA's TensorRT image, from lines of ours, and records them for Triton's image."""
    ours = [sys.executable, "-m", "clipserve_models"]
    return [
        [*ours, "plan-lines", str(artifact)],
        docker.script_line(images.tensorrt, artifact, "plans.sh"),
        docker.script_line(images.triton, artifact, "triton-facts.sh"),
        [*ours, "record-plans", str(artifact)],
    ]


def allow_tf32(repository: Path) -> None:
    """Let onnxruntime's CUDA provider compute in TF32; the fingerprint becomes one that gateways refuse."""
    for path in repository.glob("*/config.pbtxt"):
        config = text_format.Parse(path.read_text("utf-8"), pb.ModelConfig())
        accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
        accelerators[0].parameters["use_tf32"] = "1"
        config.parameters["fingerprint"].string_value += " in tf32"
        path.write_text(text_format.MessageToString(config), "utf-8")


def _models(*words: str | Path) -> None:
    command = [sys.executable, "-m", "clipserve_models", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
