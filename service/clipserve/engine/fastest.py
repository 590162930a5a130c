"""The fastest of several engines that agree, chosen by measuring when the service starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from clipserve.clip.artifact import IMAGE_GRAPH
from clipserve.clip.reference import lowest_cosine
from clipserve.engine.backend import Embeddings
from clipserve.engine.in_process import Engine, EngineCall, Feeds
from clipserve.errors import BackendUnavailable
from clipserve.telemetry.log import logger

# The lowest cosine to the first engine's vectors, on the reference inputs. bf16 of trained weights is above it, and
# zero-shot scores change in the third digit.
MIN_AGREEMENT = 0.9995
_RUNS = 7


class Fastest:
    """An `Engine`: after `load`, one of `engines`.

    The vectors of the first are the standard for the others. Only one is in memory at a time, so one that wins
    before the last is tried is loaded twice. `inputs`: for each graph, what to measure on.
    `recalled`: the name of the one that was chosen before; `keep` is told what a trial has chosen.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        inputs: Mapping[str, Feeds],
        recalled: str | None = None,
        keep: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._engines = engines
        self._inputs = inputs
        self._recalled = recalled
        self._keep = keep
        self._chosen = engines[0]

    @property
    def name(self) -> str:
        return self._chosen.name

    @property
    def precision(self) -> str | None:
        return self._chosen.precision

    @property
    def on_gpu(self) -> bool:
        return self._chosen.on_gpu

    def load(self) -> None:
        """Measure each engine, keep the fastest that agrees, and log the choice.

        Raises:
            BackendUnavailable: the first cannot be loaded, or fails on `inputs`. Another that does is passed over.
        """
        if self._load_recalled():
            return
        first, *others = self._engines
        first.load()
        if not others:
            return
        try:
            standard, best = self._vectors(first), self._seconds(first)
        except Exception as error:  # the engines' exceptions have no common base but Exception
            raise BackendUnavailable(f"{first.name} fails on the reference inputs: {error}") from error
        loaded = first
        for engine in others:
            loaded.close()
            loaded = engine
            seconds = self._seconds_if_equal(engine, standard)
            if seconds is not None and seconds < best:
                self._chosen, best = engine, seconds
        if loaded is not self._chosen:
            loaded.close()
            self._chosen.load()
        logger.info("engine_chosen", engine=self.name, precision=self.precision)
        self._keep(self.name)

    def call(self, graph: str, feeds: Feeds) -> EngineCall:
        return self._chosen.call(graph, feeds)

    def lost(self) -> str | None:
        return self._chosen.lost()

    def close(self) -> None:
        self._chosen.close()

    def _load_recalled(self) -> bool:
        engine = next((each for each in self._engines if each.name == self._recalled), None)
        if engine is None:
            return False
        try:
            engine.load()
        except BackendUnavailable as error:
            engine.close()
            logger.warning("engines_tried_again", engine=engine.name, reason=error.detail)
            return False
        self._chosen = engine
        logger.info("engine_recalled", engine=self.name, precision=self.precision)
        return True

    def _seconds_if_equal(self, engine: Engine, standard: list[Embeddings]) -> float | None:
        try:
            engine.load()
            vectors = self._vectors(engine)
        except Exception as error:  # an engine on trial may fail in any way; the first one serves
            logger.warning("engine_passed_over", engine=engine.name, error=str(error))
            return None
        cosine = min(lowest_cosine(one, other) for one, other in zip(vectors, standard, strict=True))
        seconds = self._seconds(engine)
        logger.info(
            "engine_tried",
            engine=engine.name,
            precision=engine.precision,
            cosine=round(cosine, 6),
            ms_per_call=round(seconds * 1000, 1),
        )
        return seconds if cosine >= MIN_AGREEMENT else None

    def _vectors(self, engine: Engine) -> list[Embeddings]:
        return [engine.call(graph, feeds).run() for graph, feeds in self._inputs.items()]

    def _seconds(self, engine: Engine) -> float:
        """The least of a few calls of the image encoder, warm: whatever else the machine does only adds to it."""
        times = []
        for _ in range(_RUNS):
            started = time.perf_counter()
            engine.call(IMAGE_GRAPH, self._inputs[IMAGE_GRAPH]).run()
            times.append(time.perf_counter() - started)
        return min(times)
