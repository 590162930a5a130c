"""Both encoders in this process: a backend around an engine, which is a library that runs the graphs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import GPU_TEXT_BUCKETS, TEXT_BUCKETS
from clipserve.concurrency import in_own_thread
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.engine.cuda import lacks_memory
from clipserve.errors import BackendFailed, BackendUnavailable
from clipserve.telemetry.log import logger

Feeds = dict[str, Any]  # input name -> array; see `clipserve.clip.artifact` for the graphs' contract

PROBE_SECONDS = 10.0  # a GPU that has not answered one text by then is lost


@dataclass(frozen=True)
class EngineOptions:
    """How an engine runs, whichever it is.

    Attributes:
        cuda: on the GPU, which has been seen to work; else on the CPU.
        threads: of one call.
        workers: calls at a time.
    """

    cuda: bool = False
    threads: int = 1
    workers: int = 1


class ToLoad(Protocol):
    """What gives an engine."""

    def load(self) -> Engine:
        """The engine, once it has read both graphs. Raises BackendUnavailable: it cannot run here, or read them."""


class Engine(ToLoad, Protocol):
    """A library that runs the graphs of one artifact; loaded, it gives itself.

    Its methods block; `InProcess` calls them in threads.

    Attributes:
        name: for logs and errors.
        precision: see `Backend`.
    """

    name: str
    precision: str | None
    on_gpu: bool

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        """Run a graph; float32 [N, D]. May raise anything. Several runs may go on at the same time."""

    def lost(self) -> str | None:
        """Asked on a GPU after a call has failed: why all will fail now; None where it was that call alone."""

    def close(self) -> None:
        """Free the weights."""


class InProcess:
    """One call is one run of the engine, which goes on if the caller leaves; put `Batched` around it.

    On a GPU a call that fails for lack of memory makes the next ones smaller (`most_rows`). After any other failure
    one text is tried; if it fails too, the GPU is lost: all calls are refused, and only a new process gets it back.

    `workers`: calls at a time; on a GPU so many of each graph, because a text must not wait behind images there.
    `on_lost` is called once. `first_calls`: to run on a GPU before `start` returns: the first of a size looks for
    kernels and allocates memory. `fixed`: graphs whose size of calls is set: it fits, or the start is refused.
    """

    def __init__(
        self,
        to_load: ToLoad,
        workers: int = 1,
        on_lost: Callable[[], object] = lambda: None,
        first_calls: Callable[[], Iterable[tuple[str, Feeds]]] = tuple,
        fixed: Collection[str] = (),
    ) -> None:
        self._to_load, self._workers, self._on_lost = to_load, workers, on_lost
        self._first_calls, self._fixed = first_calls, fixed
        self._engine: Engine | None = None  # None while it is not open
        self.engine = ""
        self.precision: str | None = None
        self.text_buckets: Sequence[int] = TEXT_BUCKETS
        self._lost = False
        self._most_rows: dict[str, int] = {}  # of a graph that lacked memory
        self._executor = self._texts = ThreadPoolExecutor(self._workers, "engine")

    def most_rows(self, graph: str) -> int:
        """The rows of a call that a GPU's memory suffices for; 0: not known."""
        return self._most_rows.get(graph, 0)

    async def start(self) -> None:
        engine = await asyncio.get_running_loop().run_in_executor(self._executor, self._to_load.load)
        self._engine, self.engine, self.precision = engine, engine.name, engine.precision
        if engine.on_gpu:
            self.text_buckets = GPU_TEXT_BUCKETS
            self._texts = ThreadPoolExecutor(self._workers, "engine_texts")
            await self._make_first_calls()

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._run(self._executor, IMAGE_GRAPH, {"pixels": pixels})

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._run(self._texts, TEXT_GRAPH, {"token_ids": token_ids, "lengths": lengths})

    async def ready(self) -> bool:
        return self._engine is not None and not self._lost

    async def aclose(self) -> None:
        engine, self._engine = self._engine, None
        for threads in (self._executor, self._texts):
            threads.shutdown(wait=False, cancel_futures=True)
        self._executor = self._texts = ThreadPoolExecutor(self._workers, "engine")  # it may be started again
        if engine:
            engine.close()

    async def _run(self, threads: ThreadPoolExecutor, graph: str, feeds: Feeds) -> Embeddings:
        if (engine := self._engine) is None:
            raise BackendUnavailable("the encoders are not loaded.")
        if self._lost:
            raise BackendUnavailable("the GPU has failed, and the process ends, to be started again.")
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, engine.run, graph, feeds)
        except Exception as error:  # the engines' exceptions have no common base but Exception
            logger.error("engine_failed", engine=engine.name, graph=graph, error=str(error))
            if engine.on_gpu and lacks_memory(str(error)):
                raise self._smaller(graph, len(next(iter(feeds.values())))) from error
            if engine.on_gpu:
                await self._look(engine)
            raise BackendFailed(f"{engine.name} failed on {graph}.") from error

    async def _make_first_calls(self) -> None:
        for graph, feeds in self._first_calls():
            rows = len(next(iter(feeds.values())))
            if rows > (self.most_rows(graph) or rows):
                continue
            try:
                await self._run(self._executor, graph, feeds)
            except BackendUnavailable as error:
                if graph in self._fixed or rows == 1:
                    raise BackendUnavailable(
                        f"{error.detail} Set CLIPSERVE_MAX_BATCH_IMAGES or CLIPSERVE_MAX_BATCH_TEXTS lower, or "
                        "take a smaller model, or a GPU with more memory."
                    ) from error

    def _smaller(self, graph: str, rows: int) -> BackendUnavailable:
        self._most_rows[graph] = min(max(1, rows // 2), self.most_rows(graph) or rows)
        logger.warning("gpu_lacks_memory", graph=graph, rows=rows, most_rows=self._most_rows[graph])
        return BackendUnavailable(f"the GPU has too little memory for a call of {rows} rows.")

    async def _look(self, engine: Engine) -> None:
        """A call has failed: try the GPU, in a thread that nobody needs if it hangs."""
        try:
            probe = asyncio.wrap_future(in_own_thread("engine_probe", engine.lost))
            reason = await asyncio.wait_for(probe, PROBE_SECONDS)
        except TimeoutError:
            reason = f"one text has not ended on it within {PROBE_SECONDS:g} s"
        if reason and not lacks_memory(reason) and not self._lost:
            self._lost = True
            logger.error("engine_lost", engine=engine.name, reason=reason)
            self._on_lost()


def return_freed_memory() -> None:
    """Give freed memory back to the system. glibc would keep it: 150 MB after ViT-B/32's graphs are read."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
