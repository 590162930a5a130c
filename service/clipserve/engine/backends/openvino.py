"""The engine OpenVINO, on the CPU: for CPUs that compute in bf16."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import ModelManifest
from clipserve.engine.backend import Embeddings
from clipserve.engine.in_process import EngineOptions, Feeds, return_freed_memory
from clipserve.engine.quiet import report_to_nobody
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger

if TYPE_CHECKING:
    import openvino as ov  # else where it is used: it need not be installed

Precision = Literal["f32", "bf16"]


def open_openvino(
    folder: Path, manifest: ModelManifest, options: EngineOptions, _: object = None
) -> OpenVinoEngine:
    """OpenVINO for the artifact in `folder`, not loaded; in bf16 if this CPU has it."""
    # Beside int8, bf16 gains 5 % and costs agreement.
    precision: Precision = "bf16" if manifest.precision == "fp32" and computes_bf16() else "f32"
    return OpenVinoEngine(folder, options.threads * options.workers, options.workers, precision)


class OpenVinoEngine:
    """An `Engine`: two compiled models of OpenVINO.

    `threads`: of all calls together. `workers`: calls at a time (OpenVINO's streams). `precision`: bf16 wants a CPU
    that `computes_bf16`.
    """

    name = "openvino"
    on_gpu = False

    def __init__(self, folder: Path, threads: int, workers: int = 1, precision: Precision = "f32") -> None:
        self._folder, self._workers, self._asked = folder, workers, precision
        self.precision: str | None = None  # what the CPU has made of it, once it is loaded
        self._options = {
            "NUM_STREAMS": str(workers),
            "INFERENCE_NUM_THREADS": str(threads),
            "ENABLE_CPU_PINNING": "NO",  # pinned threads fight with the decoders, and with a neighbour's
            "INFERENCE_PRECISION_HINT": precision,
            # By default OpenVINO rounds activations to int8 wherever weights are compressed, at any precision.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
        }
        self._models: dict[str, ov.CompiledModel] = {}
        # Requests for inference, one for each call at a time: to make one would wait until a stream is free.
        self._idle: dict[str, SimpleQueue[ov.InferRequest]] = {}

    def load(self) -> Self:
        if (core := _core()) is None:
            raise BackendUnavailable(
                "backend=openvino, but OpenVINO is not installed: pip install 'clipserve-core[openvino]', or set "
                "CLIPSERVE_BACKEND=auto."
            )
        try:
            # Reading a graph takes memory for a moment. So both are read before one is compiled.
            graphs = {graph: self._read(core, self._folder / graph) for graph in (IMAGE_GRAPH, TEXT_GRAPH)}
            with ThreadPoolExecutor() as threads:
                list(threads.map(partial(self._compile, core), graphs, graphs.values()))
        except (RuntimeError, ImportError) as error:
            raise BackendUnavailable(f"OpenVINO cannot load the graphs of {self._folder}: {error}") from error
        return_freed_memory()
        computes = str(self._models[IMAGE_GRAPH].get_property("INFERENCE_PRECISION_HINT").to_string())
        self.precision = None if computes == "f32" else computes
        logger.info(
            "openvino_ready", precision=self.precision, **{k.lower(): v for k, v in self._options.items()}
        )
        return self

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        request = (idle := self._idle[graph]).get()
        try:
            return np.array(request.infer(feeds, share_inputs=True)[0])  # a copy: it lives in the request
        finally:
            idle.put(request)

    def lost(self) -> None:
        return None

    def close(self) -> None:
        self._models, self._idle = {}, {}
        return_freed_memory()

    def _read(self, core: ov.Core, path: Path) -> ov.Model:
        model = core.read_model(path)
        return_freed_memory()
        if self._asked == "bf16":
            # OpenVINO holds on to the weights beside its own copy, and in fp32 they would double the memory; fp16
            # keeps more of them than bf16. Internal: what its converter calls; another release may lack it.
            from openvino._offline_transformations import compress_model_transformation

            compress_model_transformation(model)
            return_freed_memory()
        return model

    def _compile(self, core: ov.Core, graph: str, model: ov.Model) -> None:
        compiled = self._models[graph] = core.compile_model(model, "CPU", self._options)
        self._idle[graph] = idle = SimpleQueue["ov.InferRequest"]()
        for _ in range(self._workers):
            idle.put(compiled.create_infer_request())


def computes_bf16() -> bool:
    """Whether OpenVINO is installed, and this CPU has bf16 arithmetic (AVX-512 BF16 or AMX)."""
    core = _core()
    return core is not None and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _core() -> ov.Core | None:
    report_to_nobody()
    try:
        import openvino
    except ImportError:
        return None
    return openvino.Core()
