"""Whether encoders in this process run on a GPU, with which options of onnxruntime, and whether it is lost.

An installed driver, libraries and provider may still fail together, so a small graph is run on the GPU before it is
used. Where that fails, the words of onnxruntime and CUDA say why. A GPU on which it fails later is lost: then all
calls fail, and only a new process gets it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from clipserve.concurrency import in_own_thread
from clipserve.engine.quiet import quietly
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

TRIAL_SECONDS = 10.0  # a GPU that has not answered the small graph by then is lost
# What CUDA, cuBLAS and onnxruntime's arena call it.
_LACKS_MEMORY = re.compile(
    r"out of memory|ALLOC_FAILED|allocate memory|smaller than requested bytes", re.IGNORECASE
)
_TRIAL = Path(__file__).parent / "cuda_trial.onnx"  # tools.cuda_trial makes it


@dataclass(frozen=True)
class Reason:
    """Why no GPU is used. `found`: the cause. `do`: the remedy. `gpu`: the device that is there; "": none is."""

    found: str
    do: str
    gpu: str = ""


def why_not(dev: Path = Path("/dev")) -> Reason | None:
    """Try CUDA; None: it works. With a GPU this takes seconds. `dev`: the folder of device files."""
    gpu = ", ".join(sorted(each.name for name in ("nvidia[0-9]*", "dxg") for each in dev.glob(name)))
    if not gpu:  # onnxruntime is not even imported
        give = "give it one: in docker --gpus all, in Kubernetes nvidia.com/gpu"
        return Reason("no NVIDIA GPU is found", give)
    packages = "pip uninstall clipserve onnxruntime, then pip install clipserve-gpu"
    try:
        with quietly():
            import onnxruntime as ort
    except ImportError:  # a gateway in front of Triton has none
        return Reason("onnxruntime is not installed", packages, gpu)
    if PROVIDER not in ort.get_available_providers():
        return Reason("this onnxruntime has no CUDA provider", packages, gpu)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it misses
        ort.preload_dlls()
    fault = trial()
    if fault is None:
        return None
    words = " ".join(f"{fault} {said.getvalue()}".split())[:500]
    built = getattr(ort, "cuda_version", "") or "an unknown version"
    return Reason(
        f"a small graph does not run on it: {words}",
        f"run nvidia-smi: this onnxruntime is built for CUDA {built}, and CUDA 13 needs driver 580 and a GPU of "
        "compute capability 7.5 or later; in a container set NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        gpu,
    )


class Accelerator:
    """Decides whether encoders run on the GPU of this machine: once, when first needed, for all models.

    `why_not`: tries CUDA. `lost`: set when the GPU has failed, and does not come back.
    """

    def __init__(self, why_not: Callable[[], Reason | None] = why_not) -> None:
        self.lost = asyncio.Event()
        self._why_not = why_not
        self._tried = self._told = False
        self._reason: Reason | None = None

    def tried(self) -> Reason | None:
        """Why no GPU is used; None: it works. With a GPU the first call may take seconds: call it in a thread."""
        if not self._tried:
            self._reason, self._tried = self._why_not(), True
        return self._reason

    def chosen(self, device: Device) -> bool:
        """Whether a model with this setting runs on the GPU. It logs once if `auto` cannot use a GPU.

        Raises:
            BackendUnavailable: `device` is `cuda`, and CUDA cannot be used.
        """
        if device == "cpu":
            return False
        reason = self.tried()
        if reason is None:
            return True
        if device == "cuda":
            raise BackendUnavailable(
                f"device=cuda, but {reason.found}: {reason.do}; or set CLIPSERVE_DEVICE=auto."
            )
        if reason.gpu and not self._told:
            self._told = True
            logger.warning(
                "gpu_not_used",
                gpu=reason.gpu,
                reason=reason.found,
                do=f"{reason.do}; or set CLIPSERVE_DEVICE=cpu, if the CPU is what you want",
            )
        return False

    @property
    def unused(self) -> Reason | None:
        """Why an existing GPU cannot be used; None: it can, there is none, or it was not tried yet."""
        return self._reason if self._reason and self._reason.gpu else None


def trial() -> str | None:
    """Run a convolution and a product on the GPU, and compare with the CPU. Why this fails; None: it works."""
    with quietly():
        import onnxruntime as ort

    x = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        gpu = ort.InferenceSession(_TRIAL, options, [(PROVIDER, PROVIDER_OPTIONS)], enable_fallback=0)
        if PROVIDER not in gpu.get_providers():  # onnxruntime has printed why
            return "onnxruntime could not start its CUDA provider"
        cpu = ort.InferenceSession(_TRIAL, options, ["CPUExecutionProvider"])
        ((ours,), (expected,)) = (session.run(None, {"x": x}) for session in (gpu, cpu))
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        return " ".join(str(error).split())[:500]
    return None if np.allclose(ours, expected, rtol=1e-4) else "it computes something else than the CPU"


def lacks_memory(error: str) -> bool:
    """Whether an error of onnxruntime on CUDA, in its words, is of memory: another call may have enough."""
    return _LACKS_MEMORY.search(error) is not None


class LostGpu:
    """Runs a small graph when something speaks against the GPU. `lost`: it failed too, or did not end.

    `trial`: why the small graph fails, or None; it blocks, and may hang. `on_lost` is called once.
    """

    def __init__(self, engine: str, trial: Callable[[], str | None], on_lost: Callable[[], object]) -> None:
        self._engine, self._trial, self._on_lost = engine, trial, on_lost
        self.lost = False
        self._trying: asyncio.Future[str | None] | None = None

    async def look(self) -> None:
        """A call has failed: try the GPU, once for all who ask, in a thread that nobody needs if it hangs."""
        if not self._trying:
            self._trying = asyncio.wrap_future(in_own_thread("engine_trial", self._trial))
        trying = self._trying
        await asyncio.wait({trying}, timeout=TRIAL_SECONDS)
        reason: str | None = f"a small graph has not ended on it within {TRIAL_SECONDS:g} s"
        if trying.done():
            self._trying, reason = None, trying.result()
        if reason and not lacks_memory(reason) and not self.lost:
            self.lost = True
            logger.error("engine_lost", engine=self._engine, reason=reason)
            self._on_lost()
