"""Measures the goodput of a server at multiples of its capacity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.load import Load, median, percentile
from loadtests.measure import Measurement, Result
from loadtests.report import ms, table

MULTIPLES = (0.5, 0.7, 0.9, 1.5, 2.0)
_LEAST_GOODPUT = 0.9  # of the peak, at twice the capacity
_MOST_REFUSAL_SECONDS = 0.05


@dataclass(frozen=True)
class Level:
    """One run at a multiple of the capacity. `rate`: requests a second; `peak`: the best goodput of its round."""

    multiple: float
    rate: float
    load: Load
    peak: float
    deadline: float  # seconds; later answers do not count as goodput

    @property
    def goodput(self) -> float:
        """Good answers a second within the deadline."""
        return self.load.goodput(self.deadline)


def overload(
    measurement: Measurement, seconds: float, rounds: int, deadline: float
) -> tuple[list[Level], list[Result]]:
    """Measure the capacity in a closed loop, then an open loop at each multiple; `rounds` times; all runs."""
    levels: list[Level] = []
    results: list[Result] = []
    for _ in range(rounds):
        closed = measurement.closed(seconds)
        capacity = closed.load.goodput(deadline)
        runs = [closed, *(measurement.open(multiple * capacity, seconds) for multiple in MULTIPLES)]
        peak = max(run.load.goodput(deadline) for run in runs)
        levels += [
            Level(multiple, multiple * capacity, run.load, peak, deadline)
            for multiple, run in zip(MULTIPLES, runs[1:], strict=True)
        ]
        results += runs
    return levels, results


def levels_table(levels: Sequence[Level]) -> str:
    """Medians over the rounds, with the targets under them."""
    rows = []
    for multiple in dict.fromkeys(level.multiple for level in levels):
        own = [level for level in levels if level.multiple == multiple]
        loads = [level.load for level in own]
        rows.append([
            f"{multiple:g}", f"{median(level.rate for level in own):.1f}",
            f"{median(level.goodput for level in own):.1f}",
            f"{median(level.goodput / level.peak for level in own):.2f}",
            ms(median(load.percentile(0.99) for load in loads)),
            f"{median(len(load.refusals) / len(load.answers) for load in loads):.0%}",
            ms(median(percentile(load.refusals, 0.99) for load in loads)),
            f"{median(load.failed / len(load.answers) for load in loads):.1%}",
        ])  # fmt: skip
    refusal = f"< {ms(_MOST_REFUSAL_SECONDS)}"
    target = ["target at 2", "", "", f">= {_LEAST_GOODPUT}", f"<= {ms(levels[0].deadline)}", "", refusal, "0"]
    head = ("x capacity", "asked/s", "good/s", "of the peak", "p99 ms", "refused", "refused p99 ms", "failed")
    return table(head, [*rows, target])
