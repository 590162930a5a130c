"""Measures fairness: the latency of single images while another client has a thousand labels encoded."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.load import median
from loadtests.measure import Measurement, Result
from loadtests.process import Server
from loadtests.report import ms, table
from loadtests.scenarios import SCENARIOS

_LOAD = 0.3  # of the capacity
_MOST = 3.0  # times the latency alone
_HEAD_START = 0.3  # seconds until the service works on the big request


@dataclass(frozen=True)
class Pair:
    """Single images alone and beside the thousand labels; `big`: the requests with those."""

    alone: Result
    beside: Result
    big: Result

    @property
    def ratio(self) -> float:
        return self.beside.load.percentile(0.99) / self.alone.load.percentile(0.99)


def fair(server: Server, seconds: float, rounds: int) -> list[Pair]:
    """Single images in an open loop at a moderate rate, in turns alone and beside the labels."""
    single = Measurement(server, SCENARIOS["embed-640x480"])
    thousand = Measurement(server, SCENARIOS["classify-1000"])
    single.closed(1.0)
    rate = _LOAD * single.closed(seconds).load.goodput()
    return [
        Pair(single.open(rate, seconds), *_beside(single, thousand, rate, seconds)) for _ in range(rounds)
    ]


def _beside(single: Measurement, thousand: Measurement, rate: float, seconds: float) -> tuple[Result, Result]:
    big: list[Result] = []
    client = threading.Thread(target=lambda: big.append(thousand.closed(seconds + _HEAD_START, clients=1)))
    client.start()
    time.sleep(_HEAD_START)
    beside = single.open(rate, seconds)
    client.join()
    return beside, big[0]


def pairs_table(pairs: Sequence[Pair]) -> str:
    """Medians over the rounds."""

    def row(name: str, results: Sequence[Result]) -> list[str]:
        loads = [result.load for result in results]
        p50, p99 = (ms(median(load.percentile(share) for load in loads)) for share in (0.5, 0.99))
        counts = [sum(len(load.good) for load in loads), sum(len(load.refusals) for load in loads)]
        good, refused, failed = map(str, [*counts, sum(load.failed for load in loads)])
        return [name, good, p50, p99, refused, failed]

    ratio = median(pair.ratio for pair in pairs)
    verdict = "none beside was answered" if math.isnan(ratio) else f"{ratio:.2f}"
    rows = [
        row("single images alone", [pair.alone for pair in pairs]),
        row("beside 1,000 new labels", [pair.beside for pair in pairs]),
        row("the 1,000 labels", [pair.big for pair in pairs]),
    ]
    head = ("", "good", "p50 ms", "p99 ms", "refused", "failed")
    asked = sum(len(pair.beside.load.answers) for pair in pairs)
    answered = sum(len(pair.beside.load.good) for pair in pairs)
    return (
        f"{table(head, rows)}\n\nRatio of the p99: {verdict} (target: < {_MOST:g}), of the {answered:,} answered "
        f"of {asked:,} single images beside the labels."
    )
