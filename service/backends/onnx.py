"""Both encoders in this process, on onnxruntime."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from service.backends.base import Embeddings, Lengths, Pixels, TokenIds
from service.errors import BackendFailed, BackendUnavailable
from service.log import logger
from service.manifest import IMAGE_GRAPH, TEXT_GRAPH

Device = Literal["auto", "cpu", "cuda"]
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass(frozen=True)
class OnnxOptions:
    """How onnxruntime runs.

    Attributes:
        device: `cuda` refuses to start without CUDA; `auto` takes CUDA where it works and says what it chose.
        threads: threads of one call.
        workers: calls at a time. With one thread a call runs in its worker's own thread, on shared weights.
        spinning: threads wait for work in a busy loop: faster alone, slower beside other work on the cores.
    """

    device: Device = "auto"
    threads: int = 1
    workers: int = 1
    spinning: bool = False


class OnnxBackend:
    """Runs the two graphs of an artifact. One call is one `session.run`; put `Batched` around it."""

    def __init__(self, folder: Path, options: OnnxOptions) -> None:
        self._folder = folder
        self._options = options
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._executor = ThreadPoolExecutor(options.workers, thread_name_prefix="onnx")

    async def start(self) -> None:
        """Load both graphs; seconds for a large model, in a thread.

        Raises:
            BackendUnavailable: `device=cuda` cannot run on CUDA, or onnxruntime cannot load a graph.
        """
        loop = asyncio.get_running_loop()
        try:
            for graph in (IMAGE_GRAPH, TEXT_GRAPH):
                self._sessions[graph] = await loop.run_in_executor(self._executor, self._open, graph)
        except BackendUnavailable:
            raise
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise BackendUnavailable(f"onnxruntime cannot load {self._folder / graph}: {error}") from error
        providers = self._sessions[IMAGE_GRAPH].get_providers()
        logger.info(
            "onnxruntime_ready", runs_on="cuda" if _CUDA in providers else "cpu", **vars(self._options)
        )

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._run(IMAGE_GRAPH, {"pixels": pixels})

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._run(TEXT_GRAPH, {"token_ids": token_ids, "lengths": lengths})

    async def ready(self) -> bool:
        return len(self._sessions) == 2

    async def aclose(self) -> None:
        self._sessions = {}
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _run(self, graph: str, feeds: dict[str, Any]) -> Embeddings:
        session = self._sessions.get(graph)
        if session is None:
            raise BackendUnavailable("the encoders are not loaded yet.")
        options = ort.RunOptions()
        call = functools.partial(session.run, None, feeds, options)
        try:
            (embeddings,) = await asyncio.get_running_loop().run_in_executor(self._executor, call)
        except asyncio.CancelledError:
            options.terminate = True  # the only way to stop a call: onnxruntime looks between two nodes
            raise
        except Exception as error:  # see start()
            logger.error("onnxruntime_failed", graph=graph, error=str(error))
            raise BackendFailed(f"onnxruntime failed on {graph}.") from error
        return embeddings  # type: ignore[no-any-return]  # onnxruntime is untyped

    def _open(self, graph: str) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._options.threads
        options.inter_op_num_threads = 1
        # A memory pattern is kept for every shape of input ever seen; text has many.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._options.spinning)))
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
        if _CUDA in ort.get_available_providers():
            return [_CUDA, _CPU]
        if self._options.device == "cuda":
            raise BackendUnavailable(
                "device=cuda, but this onnxruntime has no CUDA provider: install onnxruntime-gpu in place of "
                "onnxruntime (requirements/service-gpu.txt), or set CLIPSERVE_DEVICE=cpu."
            )
        return [_CPU]
