"""Whether onnxruntime can use a GPU here, why it cannot, and the options with which it does.

`look` asks NVIDIA's driver and onnxruntime, `why_not` says what is missing, and `Accelerator` decides
once for all models. An installed driver, libraries and provider may still fail together, so a small graph is run on
the GPU before it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from clipserve.engine.nvidia import Device, Driver, ask_driver
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger

PROVIDER = "CUDAExecutionProvider"

# onnxruntime's options of its CUDA provider, each stated, because defaults differ between releases.
PROVIDER_OPTIONS = {
    "cudnn_conv_algo_search": "HEURISTIC",  # an exhaustive search would be made again for each new size of batch
    "arena_extend_strategy": "kSameAsRequested",  # else memory grows by doubling, and is kept
    "use_tf32": "0",  # with it fp32 is rounded to 10 bits in products, and the vectors are others
    "do_copy_in_default_stream": "1",  # with 0 some models have data races, says onnxruntime
}

_PACKAGES = "pip uninstall clipserve onnxruntime, then pip install clipserve-gpu"
_OLDEST_DRIVER = {12: 525, 13: 580}  # NVIDIA's driver by the CUDA that it must run
_OLDEST_CAPABILITY = {13: (7, 5)}  # GPUs that this CUDA has left behind are below it
_TRIAL = Path(__file__).parent / "cuda_trial.onnx"  # clipserve_models.cuda_trial makes it


@dataclass(frozen=True)
class CudaFacts:
    """What decides whether a GPU is used.

    Attributes:
        provider: whether this onnxruntime has its CUDA provider.
        built_for: the CUDA that onnxruntime was built for, "13.0"; "": none.
        missing: libraries of CUDA that do not load, with the linker's reason if they exist.
        trial: why the small graph did not run; None: it ran, or was not tried.
    """

    driver: Driver = field(default_factory=Driver)
    provider: bool = False
    built_for: str = ""
    missing: tuple[str, ...] = ()
    trial: str | None = None

    @property
    def major(self) -> int:
        """The major version of `built_for`; 0: unknown."""
        major = self.built_for.partition(".")[0]
        return int(major) if major.isdecimal() else 0


@dataclass(frozen=True)
class Reason:
    """Why no GPU is used. `found`: the cause. `do`: the remedy."""

    found: str
    do: str


def look(dev: Path = Path("/dev"), library: str = "libcuda.so.1") -> CudaFacts:
    """All facts without the trial, which allocates on the GPU. `dev`, `library`: see `ask_driver`."""
    try:
        # A gateway in front of Triton has none.
        from clipserve.engine.quiet_onnxruntime import onnxruntime as ort
    except ImportError:
        return CudaFacts(ask_driver(dev, library))
    provider = PROVIDER in ort.get_available_providers()
    facts = CudaFacts(ask_driver(dev, library), provider, str(getattr(ort, "cuda_version", "") or ""))
    return replace(facts, missing=_missing(facts.major)) if why_not(facts) is None else facts


def tried(facts: CudaFacts) -> CudaFacts:
    """The facts with the result of the trial, which runs only if `why_not` finds no reason against it."""
    return replace(facts, trial=trial()) if why_not(facts) is None else facts


def _seen() -> CudaFacts:
    """Without a GPU onnxruntime is not even imported."""
    driver = ask_driver()
    return tried(look()) if driver.present else CudaFacts(driver)


def why_not(facts: CudaFacts) -> Reason | None:
    """Why CUDA cannot be used; None: the facts show no reason."""
    if not facts.driver.present:
        return Reason(
            "no NVIDIA GPU is found", "give it one: in docker --gpus all, in Kubernetes nvidia.com/gpu"
        )
    if not facts.provider:
        return Reason("this onnxruntime has no CUDA provider", _PACKAGES)
    if reason := _of_driver(facts.driver, facts.built_for, facts.major):
        return reason
    if facts.missing:
        return Reason(
            f"libraries of CUDA do not load: {'; '.join(facts.missing)}",
            "pip install clipserve-gpu, which has them",
        )
    if facts.trial is not None:
        return Reason(
            f"a small graph does not run on it: {facts.trial}",
            "nvidia-smi shows whether the GPU is healthy and has memory left",
        )
    return None


def _of_driver(driver: Driver, built_for: str, major: int) -> Reason | None:
    """Why this driver and its first GPU are not for this onnxruntime."""
    if not driver.gpus:
        return Reason(
            f"the driver gives no GPU: {driver.fault}",
            "run nvidia-smi on the machine; in a container set NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    if driver.newest_cuda and major > driver.newest_cuda[0]:
        newest, oldest = ".".join(map(str, driver.newest_cuda)), _OLDEST_DRIVER.get(major)
        return Reason(
            f"the driver runs CUDA up to {newest}, and this onnxruntime is built for {built_for}",
            "update NVIDIA's driver" + (f" to {oldest} or later" if oldest else ""),
        )
    gpu, needs = driver.gpus[0], _OLDEST_CAPABILITY.get(major, (0, 0))
    if gpu.capability < needs:
        has = ".".join(map(str, gpu.capability))
        return Reason(
            f"{gpu.name} has compute capability {has}, and CUDA {major} needs {needs[0]}.{needs[1]}",
            "take a newer GPU, or an onnxruntime-gpu that is built for CUDA 12",
        )
    return None


class Accelerator:
    """Decides whether encoders run on the GPU of this machine: once, when first needed, for all models.

    `look`: gives the facts about the machine. `lost`: set when the GPU has failed, and does not come back.
    """

    def __init__(self, look: Callable[[], CudaFacts] = _seen) -> None:
        self.lost = asyncio.Event()
        self._look = look
        self._facts: CudaFacts | None = None
        self._told = False

    def facts(self) -> CudaFacts:
        """The facts about the machine. With a GPU the first call may take seconds: call it in a thread."""
        if self._facts is None:
            self._facts = self._look()
        return self._facts

    def chosen(self, device: Device) -> bool:
        """Whether a model with this setting runs on the GPU. It logs once if `auto` cannot use a GPU.

        Raises:
            BackendUnavailable: `device` is `cuda`, and CUDA cannot be used.
        """
        if device == "cpu":
            return False
        reason = why_not(self.facts())
        if reason is None:
            return True
        if device == "cuda":
            raise BackendUnavailable(
                f"device=cuda, but {reason.found}: {reason.do}; or set CLIPSERVE_DEVICE=auto."
            )
        if self.unused is not None and not self._told:
            self._told = True
            logger.warning(
                "gpu_not_used",
                gpu=str(self.facts().driver),
                reason=reason.found,
                do=f"{reason.do}; or set CLIPSERVE_DEVICE=cpu, if the CPU is what you want",
            )
        return False

    @property
    def unused(self) -> Reason | None:
        """Why an existing GPU cannot be used; None: it can, there is none, or `facts` was not called yet."""
        return why_not(self._facts) if self._facts and self._facts.driver.present else None


def _missing(major: int) -> tuple[str, ...]:
    """Load what the CUDA provider needs, from NVIDIA's packages or else from the system; what does not load.

    `preload_dlls` prints what it misses, past our log, and is silent about cuDNN, without which there is no
    convolution. So each library is asked for once more, by its name: one that is loaded is found by it.
    """
    from clipserve.engine.quiet_onnxruntime import onnxruntime as ort

    with contextlib.redirect_stdout(io.StringIO()):
        ort.preload_dlls()
    if not major:  # it does not say what it was built for: the trial will tell
        return ()
    faults = []
    for name in (
        f"libcudart.so.{major}",
        f"libcublasLt.so.{major}",
        f"libcublas.so.{major}",
        "libcurand.so.10",
        "libcudnn.so.9",
    ):
        try:
            ctypes.CDLL(name)
        except OSError as error:
            faults.append(name if "No such file" in str(error) else str(error))
    return tuple(faults)


def trial() -> str | None:
    """Run a convolution and a product on the GPU, and compare with the CPU. Why this fails; None: it works."""
    from clipserve.engine.quiet_onnxruntime import onnxruntime as ort

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
