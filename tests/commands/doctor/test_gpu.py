"""Whether a GPU is found, and why it is or is not used. A script stands in for nvidia-smi, a folder for /dev."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding
from clipserve.commands.doctor.gpu import gpu
from clipserve.commands.doctor.machine import Machine
from clipserve.demo import FOLDER as DEMO
from clipserve.settings import Settings
from tests.engine.libcuda import libcuda

SAYS = "#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 550.54.15, 81559 MiB, 12 MiB'\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One without a GPU; programs are looked for in its `bin`."""
    for name in ("bin", "dev", "proc"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return Machine(tmp_path / "proc", tmp_path / "cgroup", tmp_path / "dev", "libnone.so.1", "libnone.so.1")


def with_gpu(machine: Machine, program: str = SAYS) -> None:
    (machine.dev / "nvidia0").touch()
    (machine.dev.parent / "bin" / "nvidia-smi").write_text(program)
    (machine.dev.parent / "bin" / "nvidia-smi").chmod(0o755)


def found(machine: Machine, **settings: object) -> list[Finding]:
    chosen = Settings(models=(DEMO,), **settings)  # type: ignore[arg-type]
    return list(gpu(Context(chosen, machine=machine)))


def test_no_gpu_is_ok(machine: Machine) -> None:
    (finding,) = found(machine)
    assert finding.level == "ok"
    assert finding.found.startswith("no GPU is found; onnxruntime ")


@pytest.mark.parametrize(
    ("settings", "level", "said"),
    [
        ({}, "warning", "the GPU is not used: this onnxruntime has no CUDA provider"),
        ({"device": "cpu"}, "ok", "the GPU is not used: CLIPSERVE_DEVICE=cpu"),
        ({"device": "cuda"}, "problem", "CLIPSERVE_DEVICE=cuda, and this onnxruntime has no CUDA provider"),
        (
            {"backend": "openvino"},
            "ok",
            "the GPU is not used here: the encoders run on Triton, or in OpenVINO",
        ),
        ({"backend": "triton"}, "ok", "the GPU is not used here: the encoders run on Triton, or in OpenVINO"),
    ],
)
def test_why_a_gpu_is_not_used(machine: Machine, settings: dict[str, str], level: str, said: str) -> None:
    with_gpu(machine)
    first, second = found(machine, **settings)
    assert "NVIDIA H100 80GB HBM3, driver 550.54.15, 81559 MiB, used 12 MiB" in first.found
    assert (second.level, second.found) == (level, said)
    assert (second.do is None) == (level == "ok")


def test_one_that_is_asked_for_and_not_there_is_a_problem(machine: Machine) -> None:
    _, second = found(machine, device="cuda")
    assert (second.level, second.found) == ("problem", "CLIPSERVE_DEVICE=cuda, and no NVIDIA GPU is found")


def test_a_driver_without_a_gpu_is_a_container_that_was_given_none(machine: Machine) -> None:
    version = machine.proc / "driver" / "nvidia" / "version"
    version.parent.mkdir(parents=True)
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15\n")
    _, second = found(machine)
    assert second.level == "warning"
    assert "--gpus all" in str(second.do)


def test_an_nvidia_smi_that_fails_leaves_the_devices(machine: Machine) -> None:
    with_gpu(
        machine, "#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n"
    )
    first, second = found(machine)
    assert first.found.startswith("nvidia-smi says nothing of a GPU, but there is nvidia0; onnxruntime")
    assert second.level == "warning"


def test_without_nvidia_smi_the_driver_names_the_gpu(machine: Machine, tmp_path: Path) -> None:
    (machine.dev / "nvidia0").touch()
    first, second = found(replace(machine, cuda=libcuda(tmp_path)))
    assert first.found.startswith("NVIDIA H100 80GB HBM3, 80 GiB; onnxruntime")
    assert second.do is not None
    assert "clipserve[gpu]" in second.do
