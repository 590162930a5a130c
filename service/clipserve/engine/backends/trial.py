"""The trial of two engines: which computes an image in less CPU time, also on a machine that does other work; and
how many images a call of the winner should have.

Both compute the same images in turns. Calls are compared by the CPU time of this process, not by their duration:
other programs make a call longer, and hardly change its CPU time. Where all cores are in use, CPU time is also what
decides how many images a second there are. The challenger must take a tenth less than the standard in pair after
pair. Where the pairs do not agree until the time is up, the trial has no verdict.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import numpy as np

from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH
from clipserve.clip.reference import lowest_cosine
from clipserve.engine.backend import Embeddings
from clipserve.engine.in_process import Engine, Feeds

# The lowest cosine to the standard's vectors, on the reference inputs. bf16 of trained weights is above it, and
# zero-shot scores change in the third digit.
MIN_AGREEMENT = 0.9995
_WINS_UP_TO = 0.9  # of the standard's CPU time
_PAIRS, _SECONDS = 4, 10.0  # that must agree, one after the other; for all
_SAMPLE_SECONDS, _MOST_CALLS = (
    0.02,
    20,
)  # of one sample: calls of a small model are compared several at a time
_OTHER_WORK = (
    1.15  # CPU time of a call / duration x threads, above which this process computed something else too
)
# Images of a call that are tried, while it takes at most so long; each size must save so much of an image's time.
_ROWS, _MOST_CALL_SECONDS, _GAIN = (4, 8, 16), 0.5, 0.03
_one_at_a_time = threading.Lock()  # models start together, and the trial of one would disturb another's

Inputs = Mapping[str, Feeds]  # of each graph


class Verdict(NamedTuple):
    """What a trial has found.

    wins: whether the challenger is the faster one, and agrees; None: the pairs did not agree. cosine: the lowest
    of its vectors to the standard's. ms_per_call: engine -> the median duration of a call of the reference images.
    ratios: of each pair that counts, the challenger's CPU time / the standard's.
    """

    wins: bool | None
    cosine: float
    ms_per_call: dict[str, float]
    ratios: list[float]


def compare(standard: Engine, challenger: Engine, inputs: Inputs, threads: int) -> Verdict:
    """Have two loaded engines compute `inputs` in turns. `threads`: of a call.

    It takes four pairs of calls, or as many as begin within ten seconds. A pair beside other work of this process
    is measured again.

    Raises:
        Exception: whatever an engine raises.
    """
    engines, walls, ratios = (standard, challenger), list[tuple[float, ...]](), list[float]()
    with _one_at_a_time:
        began = time.perf_counter()
        vectors = _vectors(standard, inputs)
        calls = math.ceil(_SAMPLE_SECONDS / max(time.perf_counter() - began, _SAMPLE_SECONDS / _MOST_CALLS))
        others = _vectors(challenger, inputs)
        cosine = min(lowest_cosine(one, other) for one, other in zip(others, vectors, strict=True))
        if not cosine >= MIN_AGREEMENT:  # also true of NaN
            return Verdict(False, cosine, {}, [])
        end = time.perf_counter() + _SECONDS
        while decided(ratios) is None and time.perf_counter() < end:
            wall, cpu = zip(*(_sample(each, inputs[IMAGE_GRAPH], calls) for each in engines), strict=True)
            if all(cpu[i] <= _OTHER_WORK * threads * wall[i] for i in range(2)):
                walls.append(wall)
                ratios.append(cpu[1] / cpu[0])
    medians = map(median, zip(*walls, strict=True))
    ms_per_call = {engine.name: round(1000 * each, 1) for engine, each in zip(engines, medians, strict=False)}
    return Verdict(decided(ratios), cosine, ms_per_call, ratios)


def decided(ratios: Sequence[float]) -> bool | None:
    """Whether the challenger wins; None: the last four pairs do not agree. `ratios`: see `Verdict`."""
    wins = {ratio <= _WINS_UP_TO for ratio in ratios[-_PAIRS:]}
    return wins.pop() if len(ratios) >= _PAIRS and len(wins) == 1 else None


def _sample(engine: Engine, feeds: Feeds, calls: int) -> tuple[float, float]:
    """Seconds of a call: how long it took, and CPU time of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        engine.run(IMAGE_GRAPH, feeds)
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def _vectors(engine: Engine, inputs: Inputs) -> list[Embeddings]:
    return [engine.run(graph, inputs[graph]) for graph in (IMAGE_GRAPH, TEXT_GRAPH)]


def best_rows(engine: Engine, feeds: Feeds, call_seconds: float) -> int:
    """After how many images of a call an image's CPU time stops to fall by three percent: 4, 8 or 16.

    `feeds`: those of a call that took `call_seconds`. A size whose call would take more than half a second is not
    tried, so that this takes two seconds on a quiet machine.
    """
    pixels = feeds["pixels"]
    row_seconds, rows, best = call_seconds / len(pixels), _ROWS[0], math.inf
    with _one_at_a_time:
        for size in _ROWS:
            if size * row_seconds > _MOST_CALL_SECONDS:
                break
            call = {"pixels": np.resize(pixels, (size, *pixels.shape[1:]))}
            cpu = min(_sample(engine, call, 1)[1] for _ in range(2)) / size  # the first allocates memory
            if cpu > (1 - _GAIN) * best:
                break
            rows, best = size, cpu
    return rows
