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


def verdict(pairs: Sequence[Pair]) -> str:
    """The median of the rounds' ratios, in a sentence."""
    ratio = median(pair.ratio for pair in pairs)
    told = "none beside was answered" if math.isnan(ratio) else f"{ratio:.2f}"
    return f"Ratio of the p99 of single images beside 1,000 labels and alone: {told} (target: < {_MOST:g})."
