"""Which engine runs the encoders in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal

from clipserve import __version__
from clipserve.clip.manifest import ModelManifest
from clipserve.cores import cpu_quota, processor, usable_cores
from clipserve.engine.fastest import Fastest
from clipserve.engine.in_process import Engine, Feeds
from clipserve.engine.onnx import OnnxEngine, OnnxOptions
from clipserve.engine.trials import Trials
from clipserve.errors import BackendUnavailable

_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino")


@dataclass(frozen=True)
class EngineOptions:
    """What may be chosen.

    Attributes:
        backend: `auto`: the faster of those that are installed and agree.
        cuda: on the GPU, which has been seen to work.
        threads: of one call; 0: the cores of the quota.
        workers: calls at a time.
        may_spin: whether threads may wait in a busy loop, where nothing speaks against it.
        cache_dir: the folder in which it is kept what a trial has chosen; None: each start tries.
    """

    backend: Literal["auto", "onnx", "openvino"]
    cuda: bool
    threads: int
    workers: int
    may_spin: bool = True
    cache_dir: Path | None = None


def choose_engine(
    folder: Path,
    manifest: ModelManifest,
    options: EngineOptions,
    trial_inputs: Callable[[], Mapping[str, Feeds]],
) -> Engine:
    """The engine for the artifact in `folder`. `trial_inputs`: graph -> inputs to measure engines on.

    Raises:
        BackendUnavailable: the engine that is asked for is not installed.
    """
    threads = options.threads or usable_cores()
    if options.backend == "onnx" or options.cuda:
        return _onnx(folder, options, threads)
    try:
        from clipserve.engine.openvino import OpenVinoEngine, Precision, computes_bf16  # optional
    except ImportError:
        if options.backend == "openvino":
            raise BackendUnavailable(
                "backend=openvino, but OpenVINO is not installed: pip install 'clipserve[openvino]', or set "
                "CLIPSERVE_BACKEND=auto."
            ) from None
        return _onnx(folder, options, threads)
    bf16 = computes_bf16()
    # Beside int8, bf16 gains 5 % and costs agreement.
    precision: Precision = "bf16" if bf16 and manifest.precision == "fp32" else "f32"
    openvino = OpenVinoEngine(folder, threads * options.workers, options.workers, precision)
    if options.backend == "openvino":
        return openvino
    # On a CPU without bf16 both are equally fast, in int8 too, and OpenVINO takes half as much memory again: a
    # trial would cost seconds of every start and gain nothing.
    onnx = _onnx(folder, options, threads)
    if not bf16:
        return onnx
    engines: list[Engine] = [onnx, openvino]
    if options.cache_dir is None:
        return Fastest(engines, trial_inputs())
    trials, trial = Trials(options.cache_dir), _trial(manifest, options)
    return Fastest(engines, trial_inputs(), trials.recall(trial), partial(trials.keep, trial))


def _trial(manifest: ModelManifest, options: EngineOptions) -> str:
    """All that its outcome depends on, as a digest."""
    installed = [each.version for name in _LIBRARIES for each in distributions(name=name)]
    software = (__version__, *installed)
    machine = (processor(), usable_cores(), cpu_quota())
    facts = (manifest.fingerprint(), software, machine, replace(options, cache_dir=None))
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _onnx(folder: Path, options: EngineOptions, threads: int) -> OnnxEngine:
    # With fewer threads the other cores are left to others: a busy loop would take them, and look like load. From a
    # quota it would take time that the kernel then refuses to the work itself.
    whole = cpu_quota() is None and threads * options.workers >= usable_cores()
    return OnnxEngine(folder, OnnxOptions(options.cuda, threads, spinning=options.may_spin and whole))
