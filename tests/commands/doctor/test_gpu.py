"""Whether a GPU is found, and why it is or is not used. A folder stands in for /dev."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipserve.commands.doctor.findings import Finding
from clipserve.commands.doctor.models import used
from clipserve.engine.cuda import look
from tests.commands.doctor.asking import doctor
from tests.engine.libcuda import libcuda


def found(folder: Path, wanted: str = "auto", *, library: str = "libnone.so.1") -> list[Finding]:
    return list(used(look(folder / "dev", library), {wanted} - {""}, folder / "version"))


@pytest.fixture
def with_gpu(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    return tmp_path


def test_no_gpu_is_ok(tmp_path: Path) -> None:
    (finding,) = found(tmp_path)
    assert (finding.level, finding.found) == ("ok", "no GPU; onnxruntime without CUDA")


@pytest.mark.parametrize(
    ("wanted", "level", "said"),
    [
        ("auto", "warning", "the GPU is not used: this onnxruntime has no CUDA provider"),
        (
            "cpu",
            "ok",
            "the GPU is not used: CLIPSERVE_DEVICE=cpu, or the encoders run on Triton, or in OpenVINO",
        ),
        (
            "",
            "ok",
            "the GPU is not used: CLIPSERVE_DEVICE=cpu, or the encoders run on Triton, or in OpenVINO",
        ),
        ("cuda", "problem", "CLIPSERVE_DEVICE=cuda, and this onnxruntime has no CUDA provider"),
    ],
)
def test_why_a_gpu_is_not_used(with_gpu: Path, wanted: str, level: str, said: str) -> None:
    first, second = found(with_gpu, wanted)
    assert first.found == "nvidia0; onnxruntime without CUDA"
    assert (second.level, second.found) == (level, said)
    assert (second.do is None) == (level == "ok")


def test_a_gpu_that_is_asked_for_and_not_there_is_a_problem(tmp_path: Path) -> None:
    _, second = found(tmp_path, "cuda")
    assert (second.level, second.found) == ("problem", "CLIPSERVE_DEVICE=cuda, and no NVIDIA GPU is found")


def test_a_driver_without_a_gpu_is_a_container_that_was_given_none(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n")
    _, second = found(tmp_path)
    assert second.level == "warning"
    assert "--gpus all" in str(second.do)


def test_the_driver_names_the_gpu(with_gpu: Path) -> None:
    first, second = found(with_gpu, library=libcuda(with_gpu))
    assert first.found.startswith("NVIDIA H100 80GB HBM3, 80 GiB; onnxruntime")
    assert "clipserve-gpu" in str(second.do)


@pytest.mark.parametrize("backend", ["triton", "openvino"])
def test_a_device_is_not_asked_for_where_onnxruntime_computes_nothing(backend: str) -> None:
    assert doctor("--only", "gpu", backend=backend, device="cuda", triton_url="localhost:8001").status == 0
    assert doctor("--only", "gpu", backend="onnx", device="cuda").status == 1
