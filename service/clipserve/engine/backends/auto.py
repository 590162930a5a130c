"""The faster of onnxruntime and OpenVINO, chosen by a trial at the first start. Later starts know it from a file.

The file only names the engine to load. The self-test compares its vectors with the manifest's as after a trial.
What a trial could not decide is not kept: onnxruntime serves, and the next start tries again.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from clipserve import __version__
from clipserve.clip.artifact import IMAGE_GRAPH
from clipserve.clip.manifest import ModelManifest
from clipserve.cores import cpu_quota, processor, usable_cores
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.backends.openvino import computes_bf16, open_openvino
from clipserve.engine.backends.trial import Verdict, best_rows, compare
from clipserve.engine.in_process import Engine, EngineOptions, ToLoad, TrialInputs
from clipserve.errors import BackendUnavailable
from clipserve.files import read_bounded, replacing
from clipserve.telemetry.log import logger

_LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino")
_MOST_BYTES = 4096  # of a kept choice


class Choice(BaseModel):
    """What a trial has decided, as it is kept. `batch_rows`: of a call of images; 0: not measured."""

    engine: str
    precision: str | None = None
    ms_per_call: dict[str, float] = {}
    batch_rows: int = 0

    def facts(self, trial: str) -> dict[str, Any]:
        """See `Backend.facts`. `trial`: what became of it."""
        rows = {"batch_rows": self.batch_rows} if self.batch_rows else {}
        return {"trial": trial, "trial_ms_per_call": self.ms_per_call} | rows


def open_fastest(
    folder: Path, manifest: ModelManifest, options: EngineOptions, inputs: TrialInputs
) -> ToLoad:
    """The faster of onnxruntime and OpenVINO. `inputs`: what to measure them on."""
    onnx = OnnxEngine(folder, options)
    # On a CPU without bf16 both are equally fast, in int8 too, and OpenVINO takes half as much memory again: a
    # trial would cost seconds of every start and gain nothing.
    if options.cuda or not computes_bf16():
        return onnx
    challenger = open_openvino(folder, manifest, options)
    return Fastest(onnx, challenger, inputs, options.threads, file_of_trial(manifest, options))


def file_of_trial(manifest: ModelManifest, options: EngineOptions) -> Path | None:
    """A file for the outcome of a trial, named by all that the outcome depends on; None: it is not kept."""
    if options.cache_dir is None:
        return None
    installed = [each.version for name in _LIBRARIES for each in distributions(name=name)]
    software = (__version__, *installed)
    machine = (processor(), usable_cores(), cpu_quota())
    facts = (manifest.fingerprint(), software, machine, replace(options, cache_dir=None))
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9._-]", "-", manifest.name)
    return options.cache_dir / ".engines" / f"{name}-{digest}.json"


class Fastest:
    """Loads `standard` or `challenger`: what an earlier trial has chosen, or the winner of a trial.

    `threads`: of a call. `kept`: a file for what was chosen. The engine's `facts` say how.
    """

    def __init__(
        self,
        standard: Engine,
        challenger: Engine,
        inputs: TrialInputs,
        threads: int = 1,
        kept: Path | None = None,
    ) -> None:
        self._standard, self._challenger = standard, challenger
        self._inputs, self._threads, self._kept = inputs, threads, kept
        self._chosen: Engine | None = None

    def load(self) -> Engine:
        """The engine, loaded; a line of the log says which. Called again, it gives the same one.

        Raises:
            BackendUnavailable: the standard cannot be loaded. A challenger that cannot is passed over.
        """
        if self._chosen:
            return self._chosen.load()
        chosen = self._chosen = self._recalled() or self._winner()
        logger.info("engine_chosen", engine=chosen.name, precision=chosen.precision, **chosen.facts)
        return chosen

    def _recalled(self) -> Engine | None:
        """The engine that an earlier trial has chosen, if its name is kept and it can be loaded."""
        if self._kept is None:
            return None
        engines = {engine.name: engine for engine in (self._standard, self._challenger)}
        try:
            choice = Choice.model_validate_json(read_bounded(self._kept, _MOST_BYTES))
            engine = engines[choice.engine].load()
        except (OSError, ValueError, KeyError, BackendUnavailable):  # mostly, that there is no such file
            return None
        engine.facts = choice.facts("kept before")
        return engine

    def _winner(self) -> Engine:
        verdict = self._tried()
        chosen, other = self._standard, self._challenger
        if verdict and verdict.wins:
            chosen, other = other, chosen
        other.close()
        choice, kept = Choice(engine=chosen.name, precision=chosen.precision), False
        if verdict and verdict.wins is not None:
            if verdict.ms_per_call:  # none of engines that do not agree
                seconds = verdict.ms_per_call[chosen.name] / 1000
                choice.ms_per_call = verdict.ms_per_call
                choice.batch_rows = best_rows(chosen, self._inputs()[IMAGE_GRAPH], seconds)
            kept = self._keep(choice)
        chosen.facts = choice.facts("kept" if kept else "not kept")
        return chosen

    def _tried(self) -> Verdict | None:
        """The verdict of a trial, whose engines stay loaded; None: the challenger does not run."""
        self._standard.load()
        challenger = self._challenger
        try:
            challenger.load()
            verdict = compare(self._standard, challenger, self._inputs(), self._threads)
        except Exception as error:  # an engine on trial may fail in any way; the other one serves
            logger.warning("engine_passed_over", engine=challenger.name, error=str(error))
            return None
        said = verdict._replace(ratios=[round(ratio, 2) for ratio in verdict.ratios])._asdict()
        logger.info("engine_tried", engine=challenger.name, precision=challenger.precision, **said)
        return verdict

    def _keep(self, choice: Choice) -> bool:
        """Write what was chosen; whether it is written. If not, the next start measures again."""
        if self._kept is None:
            return False
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._kept) as file:
                os.fchmod(file.fileno(), 0o644)  # the cache's other users need not measure
                file.write(choice.model_dump_json().encode())
        except OSError as error:
            logger.info("engine_not_kept", file=str(self._kept), reason=error.strerror)
            return False
        return True
