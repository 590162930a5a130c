"""Whether encoders in this process run on a GPU, with which options of onnxruntime, and what its errors mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from clipserve.engine.quiet import report_to_nobody
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger

Device = Literal["auto", "cpu", "cuda"]  # where encoders in this process are to run

PROVIDER = "CUDAExecutionProvider"

# onnxruntime's options of its CUDA provider, each stated, because defaults differ between releases.
PROVIDER_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",  # an exhaustive search would be made again for each new size of batch
    "arena_extend_strategy": "kSameAsRequested",  # else memory grows by doubling, and is kept
    "use_tf32": "0",  # with it fp32 is rounded to 10 bits in products, and the vectors are others
    "do_copy_in_default_stream": "1",  # with 0 some models have data races, says onnxruntime
}
NEEDS = (
    "CUDA 13 needs driver 580 and a GPU of compute capability 7.5 or later (nvidia-smi tells both); in a container "
    "set NVIDIA_DRIVER_CAPABILITIES=compute,utility"
)
# What CUDA, cuBLAS and onnxruntime's arena call it.
_LACKS_MEMORY = re.compile(
    r"out of memory|ALLOC_FAILED|allocate memory|smaller than requested bytes", re.IGNORECASE
)


def gpus(dev: Path = Path("/dev")) -> str:
    """The devices of NVIDIA's driver, as "nvidia0, nvidia1"; "": there is no GPU."""
    return ", ".join(sorted(each.name for name in ("nvidia[0-9]*", "dxg") for each in dev.glob(name)))


def why_not() -> str | None:
    """Why no GPU is used, and what to do; None: there is a GPU, and an onnxruntime for it."""
    if not gpus():  # onnxruntime is not even imported
        return "no NVIDIA GPU is found: give it one, in docker --gpus all, in Kubernetes nvidia.com/gpu"
    report_to_nobody()
    try:
        from onnxruntime import get_available_providers
    except ImportError:  # a gateway in front of Triton has none
        return "onnxruntime is not installed: pip install clipserve-gpu"
    if PROVIDER in get_available_providers():
        return None
    return "this onnxruntime has no CUDA provider: pip uninstall clipserve onnxruntime; pip install clipserve-gpu"


def chosen(device: Device) -> bool:
    """Whether a model with this setting runs on the GPU. The log says if `auto` cannot use a GPU that is there.

    Raises:
        BackendUnavailable: `device` is `cuda`, and there is no GPU, or no onnxruntime for it.
    """
    if device == "cpu" or (reason := why_not()) is None:
        return device != "cpu"
    if device == "cuda":
        raise BackendUnavailable(f"device=cuda, but {reason}; or set CLIPSERVE_DEVICE=auto.")
    if gpu := gpus():
        do = "set CLIPSERVE_DEVICE=cpu, if the CPU is what you want"
        logger.warning("gpu_not_used", gpu=gpu, reason=f"{reason}; or {do}")
    return False


def lacks_memory(error: str) -> bool:
    """Whether an error of onnxruntime on CUDA, in its words, is of memory: another call may have enough."""
    return _LACKS_MEMORY.search(error) is not None
