"""The engine onnxruntime, on CPU or CUDA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from service.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from service.engine.backend import Embeddings
from service.engine.in_process import Call, Feeds, return_freed_memory
from service.errors import BackendUnavailable
from service.telemetry.log import logger

Device = Literal["auto", "cpu", "cuda"]
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True)
class OnnxOptions:
    """How onnxruntime runs.

    Attributes:
        device: `cuda` refuses to start without CUDA; `auto` takes CUDA where it works and says what it chose.
        threads: threads of one call. With one thread a call runs in the caller's own, on shared weights.
        spinning: threads wait for their next piece of work in a busy loop, for a moment; idle they sleep.
    """

    device: Device = "auto"
    threads: int = 1
    spinning: bool = True


class OnnxEngine:
    """An `Engine`: two sessions of onnxruntime."""

    name = "onnxruntime"
    precision: str | None = None  # that of the graphs

    def __init__(self, folder: Path, options: OnnxOptions) -> None:
        self._folder = folder
        self._options = options
        self._sessions: dict[str, ort.InferenceSession] = {}

    @property
    def on_gpu(self) -> bool:
        return any("CUDAExecutionProvider" in each.get_providers() for each in self._sessions.values())

    def load(self) -> None:
        for graph in (IMAGE_GRAPH, TEXT_GRAPH):
            try:
                self._sessions[graph] = self._open(graph)
            except BackendUnavailable:
                raise
            except Exception as error:  # onnxruntime's exceptions have no common base but Exception
                raise BackendUnavailable(
                    f"onnxruntime cannot load {self._folder / graph}: {error}"
                ) from error
            return_freed_memory()
        providers = self._sessions[IMAGE_GRAPH].get_providers()
        logger.info(
            "onnxruntime_ready", runs_on="cuda" if _CUDA in providers else "cpu", **vars(self._options)
        )

    def call(self, graph: str, feeds: Feeds) -> Call:
        return _Run(self._sessions[graph], feeds)

    def close(self) -> None:
        self._sessions = {}
        return_freed_memory()

    def _open(self, graph: str) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._options.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # it prints past our log what its exceptions tell too
        # onnxruntime would keep a memory plan for each shape of input, and texts come in many shapes.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._options.spinning)))
        # The other session needs the cores next. Threads that spin on after a call would take half of them from it.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # Divide the work of a call into ever smaller pieces: then a thread that is held up by a decoder has only a
        # small piece left at the end, and the others do not wait long for it.
        options.add_session_config_entry("session.dynamic_block_base", "4")
        session = ort.InferenceSession(self._folder / graph, options, providers=self._providers())
        if self._options.device == "cuda" and _CUDA not in session.get_providers():
            raise BackendUnavailable(
                "device=cuda, but onnxruntime could not start its CUDA provider and would run on the CPU: "
                "check the driver and the CUDA libraries, or set CLIPSERVE_DEVICE=auto."
            )
        return session

    def _providers(self) -> list[str]:
        if self._options.device == "cpu":
            return [_CPU]
        if has_cuda():
            return [_CUDA, _CPU]
        if self._options.device == "cuda":
            raise BackendUnavailable(
                "device=cuda, but this onnxruntime has no CUDA provider: install onnxruntime-gpu in place of "
                "onnxruntime (requirements/service-gpu.txt), or set CLIPSERVE_DEVICE=cpu."
            )
        return [_CPU]


class _Run:
    """A `Call`."""

    def __init__(self, session: ort.InferenceSession, feeds: Feeds) -> None:
        self._session = session
        self._feeds = feeds
        self._options = ort.RunOptions()

    def run(self) -> Embeddings:
        (embeddings,) = self._session.run(None, self._feeds, self._options)
        return embeddings  # type: ignore[no-any-return]  # onnxruntime is untyped

    def cancel(self) -> None:
        self._options.terminate = True  # onnxruntime looks between two nodes


def has_cuda() -> bool:
    """Whether this onnxruntime was built for CUDA; whether CUDA works is seen when a session opens."""
    return _CUDA in ort.get_available_providers()
