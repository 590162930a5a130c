"""Both encoders in this process: a backend around an engine, which is a library that runs the graphs."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import GPU_TEXT_BUCKETS, TEXT_BUCKETS
from clipserve.concurrency import kept_running
from clipserve.engine.backend import Embeddings, Lengths, Pixels, TokenIds
from clipserve.errors import BackendFailed, BackendUnavailable
from clipserve.telemetry.log import logger
from clipserve.turns import yield_to_event_loop

Feeds = dict[str, Any]  # input name -> array; see `clipserve.clip.artifact` for the graphs' contract
TrialInputs = Callable[[], Mapping[str, Feeds]]  # for each graph, inputs to measure engines on


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

    `workers`: how many calls run at a time. `again_seconds`: between two looks for an engine that is lost.
    """

    def __init__(self, to_load: ToLoad, workers: int = 1, again_seconds: float = 5.0) -> None:
        self._to_load = to_load
        self._loaded: Engine | None = None
        self._again_seconds = again_seconds
        self._looking: asyncio.Task[None] | None = None  # for the engine, which is lost
        self._executor = ThreadPoolExecutor(workers, "engine", yield_to_event_loop)

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
        self._loaded = await asyncio.get_running_loop().run_in_executor(self._executor, self._to_load.load)

    async def encode_image(self, pixels: Pixels) -> Embeddings:
        return await self._run(IMAGE_GRAPH, {"pixels": pixels})

    async def encode_text(self, token_ids: TokenIds, lengths: Lengths) -> Embeddings:
        return await self._run(TEXT_GRAPH, {"token_ids": token_ids, "lengths": lengths})

    async def ready(self) -> bool:
        return self._loaded is not None and not self._looking

    async def aclose(self) -> None:
        loaded, self._loaded = self._loaded, None
        if self._looking:
            self._looking.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
        if loaded:
            loaded.close()

    async def _run(self, graph: str, feeds: Feeds) -> Embeddings:
        engine = self._engine
        if self._looking:
            raise BackendUnavailable("the GPU has failed. If it stays so, the service must be restarted.")
        call = engine.call(graph, feeds)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call.run)
        except asyncio.CancelledError:
            call.cancel()
            raise
        except Exception as error:  # the engines' exceptions have no common base but Exception
            logger.error("engine_failed", engine=engine.name, graph=graph, error=str(error))
            # At the end there is no thread to ask in, and nobody to tell.
            if self._loaded and (reason := await self._lost(engine)) and not self._looking:
                self._looking = kept_running("engine_lost", partial(self._look_for_it, engine, reason))
            raise BackendFailed(f"{engine.name} failed on {graph}.") from error

    async def _lost(self, engine: Engine) -> str | None:
        return await asyncio.get_running_loop().run_in_executor(self._executor, engine.lost)

    async def _look_for_it(self, engine: Engine, reason: str | None) -> None:
        do = "restart the service, if engine_found does not follow: CUDA recovers from few errors by itself"
        logger.error("engine_lost", engine=engine.name, reason=reason, do=do)
        while reason:
            await asyncio.sleep(self._again_seconds)
            reason = await self._lost(engine)
        self._looking = None
        logger.info("engine_found", engine=engine.name)


def return_freed_memory() -> None:
    """Give freed memory back to the system. glibc would keep it: 150 MB after ViT-B/32's graphs are read."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
