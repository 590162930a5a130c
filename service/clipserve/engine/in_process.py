"""Both encoders in this process: a backend around an engine, which is a library that runs the graphs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import GPU_TEXT_BUCKETS, TEXT_BUCKETS
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.engine.lost import Lost, Search
from clipserve.errors import BackendFailed, BackendUnavailable
from clipserve.telemetry.log import logger
from clipserve.thread_priority import yield_to_event_loop

Feeds = dict[str, Any]  # input name -> array; see `clipserve.clip.artifact` for the graphs' contract
TrialInputs = Callable[[], Mapping[str, Feeds]]  # for each graph, inputs to measure engines on

_LENGTH_ERROR = 0.01  # of a squared length of 1; fp16 is within a tenth of it


@dataclass(frozen=True)
class EngineOptions:
    """How an engine runs, whichever it is.

    Attributes:
        cuda: on the GPU, which has been seen to work; else on the CPU.
        threads: of one call.
        workers: calls at a time.
        may_spin: whether threads may wait in a busy loop, where nothing speaks against it.
        cache_dir: the folder in which it is kept what a trial has chosen; None: each start tries.
    """

    cuda: bool = False
    threads: int = 1
    workers: int = 1
    may_spin: bool = True
    cache_dir: Path | None = None


class EngineCall(Protocol):
    """One run of a graph, in a thread."""

    def run(self) -> Embeddings:
        """Block until the vectors are there; float32 [N, D]. May raise anything."""

    def cancel(self) -> None:
        """From another thread: end `run` as soon as the library can."""


class ToLoad(Protocol):
    """What gives an engine."""

    def load(self) -> Engine:
        """Read both graphs, which takes seconds for a large model; return the engine that runs them.

        Raises:
            BackendUnavailable: it cannot run here, or cannot read a graph.
        """

    @property
    def facts(self) -> Mapping[str, Any]:
        """See `Backend.facts`; known after `load`."""


class Engine(ToLoad, Protocol):
    """A library that runs the graphs of one artifact; loaded, it gives itself.

    Its methods block; `InProcess` calls them in threads.
    """

    @property
    def name(self) -> str:
        """For logs and errors."""

    def call(self, graph: str, feeds: Feeds) -> EngineCall:
        """Prepare one run of a graph. Several runs may go on at the same time.

        The event loop calls it: alone of these methods it must not block.
        """

    def close(self) -> None:
        """Free the weights."""

    @property
    def precision(self) -> str | None:
        """See `Backend.precision`."""

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU; known once it has loaded."""

    def lost(self) -> str | None:
        """Asked after a call has failed: why all will fail now; None where it was that call alone. Blocks."""


class InProcess:
    """One call is one run of the engine; put `Batched` around it.

    An engine that is lost, which only a GPU's can be, is not ready and is given no calls, until it is found again.

    `workers`: how many calls run at a time; on a GPU so many of each graph, because a text must not wait behind
    images there. `again_seconds`, `lost`: see `Search`.
    """

    def __init__(
        self, to_load: ToLoad, workers: int = 1, again_seconds: float = 5.0, lost: Lost | None = None
    ) -> None:
        self._to_load = to_load
        self._loaded: Engine | None = None
        self._again_seconds = again_seconds
        self._lost: Lost = {} if lost is None else lost
        self._workers = workers
        self._executor = self._texts = self._threads("engine")

    @property
    def engine(self) -> str:
        return self._engine.name

    @property
    def precision(self) -> str | None:
        return self._engine.precision

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._to_load.facts

    @property
    def text_buckets(self) -> Sequence[int]:
        return GPU_TEXT_BUCKETS if self._engine.on_gpu else TEXT_BUCKETS

    @property
    def _engine(self) -> Engine:
        if self._loaded is None:
            raise BackendUnavailable("the encoders are not loaded yet.")
        return self._loaded

    async def start(self) -> None:
        engine = await asyncio.get_running_loop().run_in_executor(self._executor, self._to_load.load)
        if engine.on_gpu:
            self._texts = self._threads("engine_texts")
        self._search = Search(engine.name, engine.lost, self._again_seconds, self._lost)
        self._loaded = engine

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._run(self._executor, IMAGE_GRAPH, {"pixels": pixels})

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._run(self._texts, TEXT_GRAPH, {"token_ids": token_ids, "lengths": lengths})

    async def ready(self) -> bool:
        return self._loaded is not None and not self._search.lost

    async def aclose(self) -> None:
        loaded, self._loaded = self._loaded, None
        for threads in (self._executor, self._texts):
            threads.shutdown(wait=False, cancel_futures=True)
        self._executor = self._texts = self._threads("engine")  # it may be started again
        if loaded:
            self._search.close()
            loaded.close()

    def _threads(self, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, name, yield_to_event_loop)

    async def _run(self, threads: ThreadPoolExecutor, graph: str, feeds: Feeds) -> Embeddings:
        engine, search = self._engine, self._search
        if search.lost:
            raise BackendUnavailable(
                "the GPU has failed. If it stays so, the service ends, to be started again."
            )
        call = engine.call(graph, feeds)
        running = threads.submit(call.run)
        try:
            embeddings = await asyncio.wrap_future(running)
            if engine.on_gpu:
                _check_length(embeddings)
            return embeddings
        except asyncio.CancelledError:
            call.cancel()
            if engine.on_gpu:
                search.doubt(running)
            raise
        except Exception as error:  # the engines' exceptions have no common base but Exception
            logger.error("engine_failed", engine=engine.name, graph=graph, error=str(error))
            await search.ask()
            raise BackendFailed(f"{engine.name} failed on {graph}.") from error


def _check_length(embeddings: Embeddings) -> None:
    """Look at one row: a fault that CUDA reports too late leaves bytes of something else in an answer.

    Raises:
        RuntimeError: the row's length is not 1.
    """
    row = embeddings[-1]
    length = float(row @ row)
    if not abs(length - 1.0) < _LENGTH_ERROR:  # NaN neither
        raise RuntimeError(f"it gave a vector whose squared length is {length:g}, not 1")


def return_freed_memory() -> None:
    """Give freed memory back to the system. glibc would keep it: 150 MB after ViT-B/32's graphs are read."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
