"""The check of the GPU: whether there is one, and why it is or is not used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning

if TYPE_CHECKING:  # it loads onnxruntime
    from clipserve.engine.cuda import CudaFacts

_DRIVER = Path("/proc/driver/nvidia/version")  # a container sees its host's


def gpu(context: Context) -> Iterator[Finding]:
    """Whether a GPU is there and used."""
    from clipserve.engine.cuda import look

    yield from told(look(), {own.device for _, _, own in context.models() if own.backend in {"auto", "onnx"}})


def told(facts: CudaFacts, wanted: set[str], driver: Path = _DRIVER) -> Iterator[Finding]:
    """`wanted`: the `device` of each model that onnxruntime may compute. `driver`: a file of NVIDIA's driver."""
    from clipserve.engine.cuda import why_not

    reason, there = why_not(facts), facts.driver.present
    yield ok(
        f"{facts.driver}; onnxruntime {f'for CUDA {facts.built_for}' if facts.provider else 'without CUDA'}"
    )
    if reason and "cuda" in wanted:
        yield problem(
            f"CLIPSERVE_DEVICE=cuda, and {reason.found}", f"{reason.do}; or set CLIPSERVE_DEVICE=auto"
        )
    elif not there and driver.exists():
        yield warning(
            f"NVIDIA's driver is here ({driver}), but no GPU is",
            "in a container give it one: docker run --gpus all, or nvidia.com/gpu in Kubernetes; on the machine "
            "itself run nvidia-smi",
        )
    elif there and wanted <= {"cpu"}:
        yield ok("the GPU is not used: CLIPSERVE_DEVICE=cpu, or the encoders run on Triton, or in OpenVINO")
    elif there and reason:
        yield warning(
            f"the GPU is not used: {reason.found}",
            f"{reason.do}; or set CLIPSERVE_DEVICE=cpu, if that is what you want",
        )
    elif there:
        yield ok("the GPU is used, if a graph runs on it: see `engines`")
