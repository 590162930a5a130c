"""First starts beside busy programs: which engine the trial chooses, and what it keeps.

Which engine is the faster one is known: both are onnxruntime, and one computes every image twice. So it also
runs on a CPU without bf16, where the service makes no trial.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import typer

from clipserve.application.served_model import reference_feeds
from clipserve.clip.artifact import read_manifest
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.cores import usable_cores
from clipserve.engine.backend import Embeddings
from clipserve.engine.backends.auto import Fastest
from clipserve.engine.backends.onnx import OnnxEngine
from clipserve.engine.in_process import EngineOptions, Feeds
from loadtests.commands import DEMO, Artifact
from loadtests.report import machine_facts, table, tell

_BUSY = (0, 1, 2)  # programs


class Engine(OnnxEngine):
    """onnxruntime under another name, whose calls compute each image `times` times."""

    def __init__(self, name: str, folder: Path, options: EngineOptions, times: int) -> None:
        super().__init__(folder, options)
        self.name, self._times = name, times

    def run(self, graph: str, feeds: Feeds) -> Embeddings:
        if "pixels" not in feeds or self._times == 1:
            return super().run(graph, feeds)
        pixels = np.concatenate([feeds["pixels"]] * self._times)
        return super().run(graph, {"pixels": pixels})[: len(feeds["pixels"])]


class Start(NamedTuple):
    """What a start has chosen, whether it is kept for the next one, and how long the choice took."""

    chosen: str
    kept: bool
    seconds: float


def first_starts(artifact: Artifact = DEMO, rounds: int = 30) -> None:
    """First starts beside 0, 1 and 2 busy programs: how many keep the slower engine (target: none)."""
    rows = []
    for busy in _BUSY:
        for faster, times in (("standard", (1, 2)), ("challenger", (2, 1))):
            with _busy(busy):
                starts = [_in_a_new_process(artifact, times) for _ in range(rounds // 2)]
            wrong = sum(start.kept and start.chosen != faster for start in starts)
            undecided, seconds = sum(not start.kept for start in starts), [start.seconds for start in starts]
            took = f"{median(seconds):.1f}", f"{max(seconds):.1f}"
            rows.append([str(busy), faster, str(len(starts)), str(wrong), str(undecided), *took])
            tell(f"  {' '.join(rows[-1])}")
    heads = ("busy programs", "faster engine", "starts", "kept the slower", "kept none", "seconds", "longest")
    typer.echo(table(heads, rows))
    typer.echo(f"{artifact.name}, {machine_facts()['CPU']}, {usable_cores()} cores")


def _in_a_new_process(artifact: Path, times: tuple[int, int]) -> Start:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_start, artifact, times).result()


def _start(folder: Path, times: tuple[int, int]) -> Start:
    manifest = read_manifest(folder)
    feeds = reference_feeds(manifest, load_tokenizer(folder, manifest.text))
    options = EngineOptions(threads=usable_cores())
    standard, challenger = (
        Engine(name, folder, options, each)
        for name, each in zip(("standard", "challenger"), times, strict=True)
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        opened = Fastest(standard, challenger, lambda: feeds, options.threads, Path(temporary, "kept"))
        chosen = opened.load()
    return Start(chosen.name, chosen.facts["trial"] == "kept", time.perf_counter() - began)


@contextmanager
def _busy(programs: int) -> Iterator[None]:
    """So many processes compute without end in the block."""
    with ExitStack() as stack:
        for _ in range(programs):
            process = multiprocessing.get_context("spawn").Process(target=_compute, daemon=True)
            process.start()
            stack.callback(process.kill)
        yield


def _compute() -> None:
    while True:
        pass
