"""Both encoders in this process: a backend around an engine, which is a library that runs the graphs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import GPU_TEXT_BUCKETS, TEXT_BUCKETS
from clipserve.concurrency import in_own_thread, kept_running
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.errors import BackendFailed, BackendUnavailable
from clipserve.telemetry.log import logger
from clipserve.turns import yield_to_event_loop

Feeds = dict[str, Any]  # input name -> array; see `clipserve.clip.artifact` for the graphs' contract
TrialInputs = Callable[[], Mapping[str, Feeds]]  # for each graph, inputs to measure engines on
Lost = MutableMapping[
    object, float
]  # encoders whose GPU has failed -> since when, in seconds of time.monotonic

TRIAL_SECONDS = 10.0  # a GPU that has not answered a small graph by then is lost
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
    images there. `again_seconds`: between two looks for an engine that is lost. `lost`: has this backend as a key
    meanwhile.
    """

    def __init__(
        self, to_load: ToLoad, workers: int = 1, again_seconds: float = 5.0, lost: Lost | None = None
    ) -> None:
        self._to_load = to_load
        self._loaded: Engine | None = None
        self._again_seconds = again_seconds
        self._looking: asyncio.Task[None] | None = None  # for the engine, which is lost
        self._trial: asyncio.Future[str | None] | None = None  # that has not ended
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
        self._loaded = engine

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._run(self._executor, IMAGE_GRAPH, {"pixels": pixels})

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._run(self._texts, TEXT_GRAPH, {"token_ids": token_ids, "lengths": lengths})

    async def ready(self) -> bool:
        return self._loaded is not None and not self._looking

    async def aclose(self) -> None:
        loaded, self._loaded = self._loaded, None
        if self._looking:
            self._looking.cancel()
            self._looking = None
        for threads in (self._executor, self._texts):
            threads.shutdown(wait=False, cancel_futures=True)
        self._executor = self._texts = self._threads("engine")  # it may be started again
        if loaded:
            loaded.close()

    def _threads(self, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._workers, name, yield_to_event_loop)

    async def _run(self, threads: ThreadPoolExecutor, graph: str, feeds: Feeds) -> Embeddings:
        engine = self._engine
        if self._looking:
            raise BackendUnavailable(
                "the GPU has failed. If it stays so, the service ends, to be started again."
            )
        call = engine.call(graph, feeds)
        try:
            embeddings = await asyncio.get_running_loop().run_in_executor(threads, call.run)
            if engine.on_gpu:
                _check_length(embeddings)
            return embeddings
        except asyncio.CancelledError:
            call.cancel()
            raise
        except Exception as error:  # the engines' exceptions have no common base but Exception
            logger.error("engine_failed", engine=engine.name, graph=graph, error=str(error))
            # At the end there is nobody to tell.
            if self._loaded and (reason := await self._tried(engine)) and not self._looking:
                self._looking = kept_running("engine_lost", partial(self._look_for_it, engine, reason))
            raise BackendFailed(f"{engine.name} failed on {graph}.") from error

    async def _tried(self, engine: Engine) -> str | None:
        """Why all calls fail now, or None. One trial at a time, in a thread that nobody needs if it hangs."""
        if self._trial is None:
            self._trial = asyncio.wrap_future(in_own_thread("engine_trial", engine.lost))
        trial = self._trial
        await asyncio.wait({trial}, timeout=TRIAL_SECONDS)
        if not trial.done():
            return f"a small graph has not ended on it within {TRIAL_SECONDS:g} s"
        self._trial = None
        return trial.result()

    async def _look_for_it(self, engine: Engine, reason: str | None) -> None:
        do = "start the service again, if engine_found does not follow: CUDA recovers from few errors by itself"
        logger.error("engine_lost", engine=engine.name, reason=reason, do=do)
        self._lost[self] = time.monotonic()
        try:
            while reason:
                await asyncio.sleep(self._again_seconds)
                reason = await self._tried(engine)
        finally:
            del self._lost[self]
        self._looking = None
        logger.info("engine_found", engine=engine.name)


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
