"""The backends by name. A new one is a file, and an entry here: nothing else asks for a backend's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clipserve.clip.manifest import ModelManifest
from clipserve.engine.backend import Backend
from clipserve.engine.backends.auto import ReferenceFeeds, open_auto
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.backends.openvino import open_openvino
from clipserve.engine.in_process import EngineOptions, ToLoad

if TYPE_CHECKING:  # the settings read this table, and need no metrics
    from clipserve.telemetry.metrics import Metrics

OpenEngine = Callable[[Path, ModelManifest, EngineOptions, ReferenceFeeds], ToLoad]
Connect = Callable[[ModelManifest, Callable[..., Any], "Metrics"], Backend]


@dataclass(frozen=True)
class BackendKind:
    """What is known of a backend before it is opened.

    Attributes:
        meaning: for the table of settings.
        open_engine: gives the engine of the artifact in a folder; None: the encoders are not in this process.
        connect: the backend on servers, with its batcher; None: the encoders are in this process. Its second
            argument makes options of a class from the settings (`ModelSettings.options`).
        cuda: whether it computes on a GPU where CUDA works.
        rows_in_flight: that keep it busy, if the batches of the settings do not need more.
    """

    meaning: str
    open_engine: OpenEngine | None = None
    connect: Connect | None = None
    cuda: bool = False
    rows_in_flight: int = 16

    @property
    def in_process(self) -> bool:
        """Whether this process loads the graphs and computes."""
        return self.open_engine is not None


def _connect_to_triton(manifest: ModelManifest, options: Callable[..., Any], metrics: Metrics) -> Backend:
    from clipserve.engine.backends.triton import connect  # loads gRPC

    return connect(manifest, options, metrics)


BACKENDS: Mapping[str, BackendKind] = {
    "auto": BackendKind(
        "in this process: OpenVINO if it is installed, the CPU has bf16 and bf16 changes the vectors little; else "
        "onnxruntime",
        open_auto,
        cuda=True,
    ),
    "onnx": BackendKind(
        "in this process, in onnxruntime",
        lambda folder, _manifest, options, _reference: OnnxEngine(folder, options),
        cuda=True,
    ),
    "openvino": BackendKind("in this process, in OpenVINO", open_openvino),
    "triton": BackendKind("on a Triton server", connect=_connect_to_triton, rows_in_flight=128),
}

if TYPE_CHECKING:
    BackendName = str
else:
    BackendName = Literal[tuple(BACKENDS)]
