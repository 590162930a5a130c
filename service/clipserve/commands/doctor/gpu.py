"""The check of the GPU: whether there is one, and why it is or is not used."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning

if TYPE_CHECKING:  # it loads onnxruntime
    from clipserve.engine.cuda import CudaFacts, Reason

_SECONDS = 10.0  # nvidia-smi needs one, where the driver is not loaded yet
_QUERY = "--query-gpu=name,driver_version,memory.total,memory.used"


@dataclass(frozen=True)
class Gpus:
    """What is found of NVIDIA's. `names`: a line for each GPU; `driver`: files of the driver that are here."""

    names: tuple[str, ...]
    driver: tuple[str, ...]


def find(context: Context) -> Gpus:
    """Ask nvidia-smi, and look for the files of the driver."""
    machine = context.machine
    version = machine.proc / "driver" / "nvidia" / "version"
    driver = [str(version)] if version.exists() else []
    with suppress(OSError):
        ctypes.CDLL(machine.nvml)
        driver.append(machine.nvml)
    return Gpus(_names(), tuple(driver))


def gpu(context: Context) -> Iterator[Finding]:
    """Whether a GPU is there and used."""
    import onnxruntime

    from clipserve.engine.cuda import look, why_not

    gpus, facts = find(context), look(context.machine.dev, context.machine.cuda)
    providers = onnxruntime.get_available_providers()
    wanted = {own.device for _, _, own in context.models() if own.backend in {"auto", "onnx"}}
    yield ok(_found(gpus, facts) + f"; onnxruntime {onnxruntime.__version__} has {', '.join(providers)}")
    there = bool(gpus.names or facts.driver.present)
    if gpus.driver and not there:
        yield warning(
            f"the driver's files are here ({', '.join(gpus.driver)}), but no GPU is",
            "in a container give it one: docker run --gpus all, or nvidia.com/gpu in Kubernetes; on the machine "
            "itself run nvidia-smi",
        )
    reason = why_not(facts)
    if reason and "cuda" in wanted:
        yield problem(
            f"CLIPSERVE_DEVICE=cuda, and {reason.found}", f"{reason.do}; or set CLIPSERVE_DEVICE=auto"
        )
    elif there:
        yield _use(wanted, reason)


def _use(wanted: Set[str], reason: Reason | None) -> Finding:
    """Of a GPU that is there. `reason`: why it cannot be used."""
    if not wanted:
        return ok("the GPU is not used here: the encoders run on Triton, or in OpenVINO")
    if wanted == {"cpu"}:
        return ok("the GPU is not used: CLIPSERVE_DEVICE=cpu")
    if reason:
        return warning(
            f"the GPU is not used: {reason.found}",
            f"{reason.do}; or set CLIPSERVE_DEVICE=cpu, if that is what you want",
        )
    return ok("the GPU is used, if a graph runs on it: see `engines`")


def _found(gpus: Gpus, facts: CudaFacts) -> str:
    if gpus.names:
        return "; ".join(gpus.names)
    if facts.driver.gpus:
        return str(facts.driver)
    there = ", ".join(facts.driver.devices)
    return f"nvidia-smi says nothing of a GPU, but there is {there}" if there else "no GPU is found"


def _names() -> tuple[str, ...]:
    """Name, driver, memory and what of it is used, of each GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    try:
        told = subprocess.run(  # noqa: S603 - what it says is taken as text
            [command, _QUERY, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    keys = ("", "driver ", "", "used ")
    lines = (line.split(", ") for line in told.stdout.splitlines() if line.strip())
    return tuple(", ".join(key + each for key, each in zip(keys, line, strict=False)) for line in lines)
