"""The faster of the engines that agree, chosen by measuring at the first start. Later starts know it from a file.

The file only names the engine to load. The self-test compares its vectors with the manifest's as after a trial.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path

from clipserve import __version__
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.manifest import ModelManifest
from clipserve.clip.reference import lowest_cosine
from clipserve.cores import cpu_quota, processor, usable_cores
from clipserve.engine.backend import Embeddings
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import Engine, EngineOptions, Feeds, ToLoad, TrialInputs
from clipserve.errors import BackendUnavailable
from clipserve.files import read_bounded, replacing
from clipserve.telemetry.log import logger

# The lowest cosine to the first engine's vectors, on the reference inputs. bf16 of trained weights is above it, and
# zero-shot scores change in the third digit.
MIN_AGREEMENT = 0.9995
_RUNS, _MOST_RUNS = 3, 7
_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino")


def open_fastest(
    folder: Path, manifest: ModelManifest, options: EngineOptions, inputs: TrialInputs
) -> ToLoad:
    """The faster of onnxruntime and OpenVINO. `inputs`: what to measure them on."""
    onnx = OnnxEngine(folder, options)
    if options.cuda:
        return onnx
    try:
        from clipserve.engine.backends.openvino import computes_bf16, open_openvino  # optional
    except ImportError:
        return onnx
    # On a CPU without bf16 both are equally fast, in int8 too, and OpenVINO takes half as much memory again: a
    # trial would cost seconds of every start and gain nothing.
    if not computes_bf16():
        return onnx
    engines: list[Engine] = [onnx, open_openvino(folder, manifest, options)]
    on_trial = OnnxEngine(folder, options, mapped=True)
    return Fastest(engines, inputs, file_of_trial(manifest, options), on_trial)


def file_of_trial(manifest: ModelManifest, options: EngineOptions) -> Path | None:
    """A file for the outcome of a trial, named by all that the outcome depends on; None: it is not kept."""
    if options.cache_dir is None:
        return None
    installed = [each.version for name in _LIBRARIES for each in distributions(name=name)]
    software = (__version__, *installed)
    machine = (processor(), usable_cores(), cpu_quota())
    facts = (manifest.fingerprint(), software, machine, replace(options, cache_dir=None))
    return options.cache_dir / ".engines" / hashlib.sha256(repr(facts).encode()).hexdigest()


class Fastest:
    """Loads one of `engines`: the one that an earlier trial has chosen, or the fastest in a trial.

    The vectors of the first are the standard for the others. Only one is in memory at a time, so one that wins
    before the last is tried is loaded twice. `inputs`: for each graph, what to measure on. `kept`: a file for the
    name of the chosen one. `first_on_trial`: what is tried in place of the first, because it loads faster.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        inputs: TrialInputs,
        kept: Path | None = None,
        first_on_trial: Engine | None = None,
    ) -> None:
        self._engines = engines
        self._inputs = inputs
        self._kept = kept
        self._first_on_trial = first_on_trial or engines[0]

    def load(self) -> Engine:
        """The engine, loaded; a line of the log says which.

        Raises:
            BackendUnavailable: the first cannot be loaded, or fails on `inputs`. Another that does is passed over.
        """
        if recalled := self._recalled():
            logger.info("engine_recalled", engine=recalled.name, precision=recalled.precision)
            return recalled
        chosen = self._fastest()
        logger.info("engine_chosen", engine=chosen.name, precision=chosen.precision)
        self._keep(chosen.name)
        return chosen

    def _fastest(self) -> Engine:
        fastest, *others = self._engines
        loaded, inputs = self._first_on_trial.load(), self._inputs()
        try:
            standard, best = _measured(loaded, inputs, _RUNS)
        except Exception as error:  # the engines' exceptions have no common base but Exception
            raise BackendUnavailable(f"{fastest.name} fails on the reference inputs: {error}") from error
        for engine in others:
            loaded.close()
            loaded = engine
            seconds = _seconds_if_equal(engine, inputs, standard, best)
            if seconds is not None and seconds < best:
                fastest, best = engine, seconds
        if loaded is not fastest:
            loaded.close()
            fastest.load()
        return fastest

    def _recalled(self) -> Engine | None:
        """The engine that an earlier trial has chosen, if its name is kept and it can be loaded."""
        try:
            name = read_bounded(self._kept, 64).decode() if self._kept else ""
        except (OSError, ValueError):  # mostly, that there is no such file
            return None
        for engine in self._engines:
            if engine.name == name:
                try:
                    return engine.load()
                except BackendUnavailable as error:
                    engine.close()
                    logger.warning("engines_tried_again", engine=name, reason=error.detail)
        return None

    def _keep(self, name: str) -> None:
        """Write the name of the chosen engine. If that fails, the next start measures again."""
        if self._kept is None:
            return
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._kept) as file:
                os.fchmod(file.fileno(), 0o644)  # the cache's other users need not measure
                file.write(name.encode())
        except OSError as error:
            logger.info("engine_not_kept", file=str(self._kept), reason=error.strerror)


def _seconds_if_equal(
    engine: Engine, inputs: Mapping[str, Feeds], standard: list[Embeddings], best: float
) -> float | None:
    """Of a call of the image encoder; None: the engine is not for use."""
    try:
        vectors, seconds = _measured(engine.load(), inputs, _MOST_RUNS, best)
    except Exception as error:  # an engine on trial may fail in any way; the first one serves
        logger.warning("engine_passed_over", engine=engine.name, error=str(error))
        return None
    cosine = min(lowest_cosine(one, other) for one, other in zip(vectors, standard, strict=True))
    logger.info(
        "engine_tried",
        engine=engine.name,
        precision=engine.precision,
        cosine=round(cosine, 6),
        ms_per_call=round(seconds * 1000, 1),
    )
    return seconds if cosine >= MIN_AGREEMENT else None


def _measured(
    engine: Engine, inputs: Mapping[str, Feeds], runs: int, enough: float = 0.0
) -> tuple[list[Embeddings], float]:
    """The vectors, and the least seconds of so many calls of the image encoder, which end with one below `enough`.

    The least, because whatever else the machine does only adds to a call.
    """
    least = math.inf
    for _ in range(runs):
        started = time.perf_counter()
        images = engine.call(IMAGE_GRAPH, inputs[IMAGE_GRAPH]).run()
        least = min(least, time.perf_counter() - started)
        if least < enough:
            break
    return [images, engine.call(TEXT_GRAPH, inputs[TEXT_GRAPH]).run()], least
