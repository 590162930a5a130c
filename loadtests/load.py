"""The result of a run: every answer, and figures computed from them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

REFUSALS = frozenset({429, 503})
NO_ANSWER = 0  # in place of a status: the connection broke, or the answer timed out


def percentile(values: Sequence[float], share: float) -> float:
    """The least of `values` that at least `share` of them do not exceed (nearest rank); NaN if there are none."""
    if not values:
        return math.nan
    rank = math.ceil(round(share * len(values), 6))  # rounded: 0.07 x 100 is a little more than 7
    return sorted(values)[max(rank, 1) - 1]


def median(values: Iterable[float]) -> float:
    """The median of the values that are not NaN; NaN if there are none."""
    numbers = [value for value in values if not math.isnan(value)]
    return statistics.median(numbers) if numbers else math.nan


@dataclass(frozen=True, slots=True)
class Answer:
    """One request. Times in seconds: `due` and `sent` since the start of the run, `latency` since `due`.

    In a closed loop a request is due when it is sent. `good`: the status is an expected one, such as 4xx for a
    broken image.
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
    """The result of a run. `seconds`: to the last answer; `client_cpu`: CPU seconds of this process a request."""

    seconds: float
    answers: list[Answer] = field(repr=False)
    client_cpu: float

    @property
    def good(self) -> list[float]:
        """The latencies of the good answers, in seconds."""
        return [answer.latency for answer in self.answers if answer.good]

    @property
    def refusals(self) -> list[float]:
        """The latencies of the refusals for lack of capacity, in seconds."""
        return [answer.latency for answer in self.answers if answer.refused]

    @property
    def failed(self) -> int:
        """The number of requests with neither a good answer nor a refusal."""
        return len(self.answers) - len(self.good) - len(self.refusals)

    def goodput(self, within: float = math.inf) -> float:
        """Good answers a second with at most `within` seconds of latency."""
        return sum(latency <= within for latency in self.good) / self.seconds

    @property
    def lag(self) -> float:
        """Seconds between due and sent, 99th percentile: whether the generator keeps up."""
        return percentile([answer.sent - answer.due for answer in self.answers], 0.99)

    def percentile(self, share: float) -> float:
        """The latency in seconds that `share` of the good answers do not exceed; NaN without any."""
        return percentile(self.good, share)
