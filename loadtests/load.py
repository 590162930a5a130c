"""What a run gave: every answer, and the figures that follow from them."""

from __future__ import annotations

import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

REFUSALS = frozenset({429, 503})
NO_ANSWER = 0  # in place of a status: the connection broke, or nothing came in time


def percentile(values: Sequence[float], share: float) -> float:
    """The least of `values` that at least `share` of them do not exceed (nearest rank); NaN where there is none."""
    if not values:
        return math.nan
    rank = math.ceil(round(share * len(values), 6))  # rounded: 0.07 x 100 is a little more than 7
    return sorted(values)[max(rank, 1) - 1]


def median(values: Iterable[float]) -> float:
    """Of those that are numbers; NaN where none is."""
    numbers = [value for value in values if not math.isnan(value)]
    return statistics.median(numbers) if numbers else math.nan


@dataclass(frozen=True, slots=True)
class Answer:
    """One request. Times in seconds: `due` and `sent` since the start of the run, `latency` since `due`.

    In a closed loop a request is due when it is sent. `good`: the status is one that the request expected, which
    is 4xx for a broken image.
    """

    due: float
    sent: float
    latency: float
    status: int
    good: bool

    @property
    def refused(self) -> bool:
        return not self.good and self.status in REFUSALS


@dataclass(frozen=True)
class Load:
    """A run. `seconds`: until the last answer; `client_cpu`: CPU seconds of this process a request."""

    seconds: float
    answers: list[Answer] = field(repr=False)
    client_cpu: float

    @property
    def latencies(self) -> list[float]:
        """Seconds, of all answered requests."""
        return [answer.latency for answer in self.answers if answer.status != NO_ANSWER]

    @property
    def good(self) -> list[float]:
        """Seconds, of the requests that were answered as they should be."""
        return [answer.latency for answer in self.answers if answer.good]

    @property
    def refusals(self) -> list[float]:
        """Seconds, of the requests that were refused for want of capacity."""
        return [answer.latency for answer in self.answers if answer.refused]

    @property
    def failed(self) -> int:
        """Requests that were neither answered as they should be nor refused."""
        return len(self.answers) - len(self.good) - len(self.refusals)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    def goodput(self, within: float = math.inf) -> float:
        """Requests a second answered as they should be, in at most `within` seconds."""
        return sum(latency <= within for latency in self.good) / self.seconds

    @property
    def client_cores(self) -> float:
        """Cores that the generator took: one is all that a process of Python has."""
        return self.client_cpu * len(self.answers) / self.seconds

    @property
    def client_share(self) -> float:
        """The same of all cores of this machine: whether the generator matters."""
        return self.client_cores / len(os.sched_getaffinity(0))

    @property
    def lag(self) -> float:
        """Seconds by which a request was sent after it was due, 99th percentile: is the generator keeping up?"""
        return percentile([answer.sent - answer.due for answer in self.answers], 0.99)

    def percentile(self, share: float) -> float:
        """Seconds; `share` of the answered requests were at least as fast."""
        return percentile(self.latencies, share)
