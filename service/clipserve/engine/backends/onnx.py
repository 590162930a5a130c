"""The engine onnxruntime, on CPU or CUDA."""

from __future__ import annotations

import contextlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.engine.backend import Embeddings
from clipserve.engine.cuda import NEEDS, PROVIDER, PROVIDER_OPTIONS
from clipserve.engine.in_process import EngineOptions, Feeds, return_freed_memory
from clipserve.engine.quiet import report_to_nobody
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger

if TYPE_CHECKING:
    import onnxruntime as ort  # else where it is used: a start with another engine does not wait for it

_CPU = "CPUExecutionProvider"


class OnnxEngine:
    """An `Engine`: two sessions of onnxruntime. With one thread a call runs in the caller's own."""

    precision: str | None = None  # that of the graphs: TF32 is off

    def __init__(self, folder: Path, options: EngineOptions) -> None:
        self._folder, self._options = folder, options
        self.on_gpu = options.cuda
        self.name = "onnxruntime-cuda" if options.cuda else "onnxruntime"
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._missed = ""  # libraries of CUDA's

    def load(self) -> Self:
        report_to_nobody()
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendUnavailable(
                f"onnxruntime cannot be imported ({error}): pip install clipserve, or with an NVIDIA GPU "
                "clipserve-gpu."
            ) from None
        graphs, cuda = (IMAGE_GRAPH, TEXT_GRAPH), self._options.cuda
        if cuda:
            with contextlib.redirect_stdout(said := io.StringIO()):  # it prints which libraries it misses
                onnxruntime.preload_dlls()
            self._missed = " ".join(said.getvalue().split())[:500]
        # Reading a graph and packing its weights takes one core.
        with ThreadPoolExecutor(1 if cuda else len(graphs)) as threads:
            self._sessions = dict(zip(graphs, threads.map(self._opened, graphs), strict=True))
        logger.info("onnxruntime_ready", runs_on="cuda" if cuda else "cpu", threads=self._options.threads)
        return self

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        (embeddings,) = self._sessions[graph].run(None, feeds)
        return embeddings  # type: ignore[no-any-return]  # onnxruntime is untyped

    def lost(self) -> str | None:
        """Whether one text fails too."""
        if (session := self._sessions.get(TEXT_GRAPH)) is None:  # closed meanwhile
            return None
        length = session.get_inputs()[0].shape[1]  # a name, where any is right
        ids = np.ones((1, length if isinstance(length, int) else 8), np.int32)
        try:
            self.run(TEXT_GRAPH, {"token_ids": ids, "lengths": np.ones(1, np.int32)})
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            return " ".join(str(error).split())[:500]
        return None

    def close(self) -> None:
        self._sessions = {}
        return_freed_memory()

    def _opened(self, graph: str) -> ort.InferenceSession:
        import onnxruntime as ort

        path, options, cuda = self._folder / graph, session_options(self._options), self._options.cuda
        on_the_cpu = f" {NEEDS}. To run on the CPU, set CLIPSERVE_DEVICE=cpu." if cuda else ""
        try:
            # Without a fall-back: onnxruntime would go on on the CPU, also after an error in the middle of a call,
            # and print what happened past our log.
            session = ort.InferenceSession(path, options, providers(self._options), enable_fallback=0)
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise BackendUnavailable(f"onnxruntime cannot load {path}: {error}.{on_the_cpu}") from error
        finally:
            return_freed_memory()
        if cuda and PROVIDER not in session.get_providers():
            raise BackendUnavailable(
                f"onnxruntime does not run {path} on CUDA. {self._missed or 'It does not say why.'}{on_the_cpu}"
            )
        return session


def session_options(chosen: EngineOptions) -> ort.SessionOptions:
    """How a session runs."""
    report_to_nobody()
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = chosen.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # it prints past our log what its exceptions tell too
    # onnxruntime would keep a memory plan for each shape of input, and texts come in many shapes.
    options.enable_mem_pattern = False
    # Threads sleep while they wait for their next piece of work: beside other work, busy loops double the time of a
    # call, and under a quota they take time that the kernel then refuses to the work itself.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Divide the work of a call into ever smaller pieces: then a thread that is held up by a decoder has only a
    # small piece left at the end, and the others do not wait long for it.
    options.add_session_config_entry("session.dynamic_block_base", "4")
    return options


def providers(chosen: EngineOptions) -> list[str | tuple[str, dict[str, str]]]:
    """Where a session runs; nodes that CUDA does not have run on the CPU."""
    return [(PROVIDER, dict(PROVIDER_OPTIONS)), _CPU] if chosen.cuda else [_CPU]
