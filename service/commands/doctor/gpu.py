"""The check of the GPU: whether there is one, and why it is or is not used."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass

from service.commands.doctor.context import Context
from service.commands.doctor.findings import Finding, ok, problem, warning

_SECONDS = 10.0  # nvidia-smi needs one, where the driver is not loaded yet
_QUERY = "--query-gpu=name,driver_version,memory.total,memory.used"
_MORE_PACKAGES = "pip uninstall onnxruntime, then pip install -r requirements/service-gpu.txt"


@dataclass(frozen=True)
class Gpus:
    """What is found of NVIDIA's. `names`: a line for each GPU; `devices`: files in /dev; `driver`: its files."""

    names: tuple[str, ...]
    devices: tuple[str, ...]
    driver: tuple[str, ...]


def find(context: Context) -> Gpus:
    """Ask nvidia-smi, and look for the files of the driver."""
    machine = context.machine
    devices = tuple(sorted(each.name for each in machine.dev.glob("nvidia[0-9]*")))
    version = machine.proc / "driver" / "nvidia" / "version"
    driver = [str(version)] if version.exists() else []
    with suppress(OSError):
        ctypes.CDLL(machine.nvml)
        driver.append(machine.nvml)
    return Gpus(_names(), devices, tuple(driver))


def gpu(context: Context) -> Iterator[Finding]:
    """Whether a GPU is there and used."""
    import onnxruntime

    gpus = find(context)
    providers = onnxruntime.get_available_providers()
    wanted = {own.device for _, _, own in context.models() if own.backend != "triton"}
    yield ok(_found(gpus) + f"; onnxruntime {onnxruntime.__version__} has {', '.join(providers)}")
    if gpus.driver and not gpus.devices and not gpus.names:
        yield warning(
            f"the driver's files are here ({', '.join(gpus.driver)}), but no GPU is",
            "in a container give it one: docker run --gpus all, or nvidia.com/gpu in Kubernetes; on the machine "
            "itself run nvidia-smi",
        )
    has_cuda = "CUDAExecutionProvider" in providers
    there = bool(gpus.names or gpus.devices)
    if "cuda" in wanted and not there:
        yield problem(
            "CLIPSERVE_DEVICE=cuda, and no GPU is found", "set CLIPSERVE_DEVICE=auto, or give it a GPU"
        )
    elif "cuda" in wanted and not has_cuda:
        yield problem("CLIPSERVE_DEVICE=cuda, and this onnxruntime has no CUDA provider", _MORE_PACKAGES)
    elif there:
        yield _use(wanted, has_cuda=has_cuda)


def _use(wanted: Set[str], *, has_cuda: bool) -> Finding:
    """Of a GPU that is there."""
    if not wanted:
        return ok("the GPU is not used here: the encoders run on Triton")
    if wanted == {"cpu"}:
        return ok("the GPU is not used: CLIPSERVE_DEVICE=cpu")
    if not has_cuda:
        return warning(
            "the GPU is not used: this onnxruntime has no CUDA provider",
            f"{_MORE_PACKAGES}; or set CLIPSERVE_DEVICE=cpu, if that is what you want",
        )
    return ok("the GPU is used, if CUDA starts: see `engines`")


def _found(gpus: Gpus) -> str:
    if gpus.names:
        return "; ".join(gpus.names)
    there = ", ".join(gpus.devices)
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
