"""More than it can do: the goodput of a server that is asked for a multiple of its capacity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtests.load import Load, median, percentile
from loadtests.measure import Measurement, Result
from loadtests.report import ms, table

MULTIPLES = (0.5, 0.7, 0.9, 1.5, 2.0)
_LEAST_GOODPUT = 0.9  # of the peak, at twice the capacity
_MOST_REFUSAL_SECONDS = 0.05


@dataclass(frozen=True)
class Level:
    """One run at a multiple of the capacity. `share`: goodput within the deadline, of the peak. Seconds."""

    multiple: float
    rate: float
    goodput: float
    share: float
    p99: float
    refused: float
    refused_p99: float
    failed: float


def overload(
    measurement: Measurement, seconds: float, rounds: int, deadline: float, report: Callable[[Result], None]
) -> tuple[list[Level], list[Result]]:
    """Capacity in a closed loop, then an open loop at each multiple of it; `rounds` times; all levels and runs."""
    levels: list[Level] = []
    results: list[Result] = []
    for _ in range(rounds):
        closed = measurement.closed(seconds)
        report(closed)
        capacity = closed.load.goodput(deadline)
        runs = [closed]
        for multiple in MULTIPLES:
            runs.append(measurement.open(multiple * capacity, seconds))
            report(runs[-1])
        peak = max(run.load.goodput(deadline) for run in runs)
        levels += [
            level_of(multiple, multiple * capacity, run.load, peak, deadline)
            for multiple, run in zip(MULTIPLES, runs[1:], strict=True)
        ]
        results += runs
    return levels, results


def level_of(multiple: float, rate: float, load: Load, peak: float, deadline: float) -> Level:
    """The figures of one run; `peak`: the best goodput of its round, requests a second."""
    goodput = load.goodput(deadline)
    return Level(
        multiple=multiple,
        rate=rate,
        goodput=goodput,
        share=goodput / peak,
        p99=percentile(load.good, 0.99),
        refused=len(load.refusals) / len(load.answers),
        refused_p99=percentile(load.refusals, 0.99),
        failed=load.failed / len(load.answers),
    )


def levels_table(levels: Sequence[Level], deadline: float) -> str:
    """Medians over the rounds, with the targets under them."""
    by_multiple: dict[float, list[Level]] = defaultdict(list)
    for level in levels:
        by_multiple[level.multiple].append(level)

    def middle(own: list[Level], name: str) -> float:
        return median(getattr(level, name) for level in own)

    rows = [
        [
            f"{multiple:g}",
            f"{middle(own, 'rate'):.1f}",
            f"{middle(own, 'goodput'):.1f}",
            f"{middle(own, 'share'):.2f}",
            ms(middle(own, "p99")),
            f"{middle(own, 'refused'):.0%}",
            ms(middle(own, "refused_p99")),
            f"{middle(own, 'failed'):.1%}",
        ]
        for multiple, own in by_multiple.items()
    ]
    refusal = f"< {ms(_MOST_REFUSAL_SECONDS)}"
    target = ["target at 2", "", "", f">= {_LEAST_GOODPUT}", f"<= {ms(deadline)}", "", refusal, "0"]
    head = ("x capacity", "asked/s", "good/s", "of the peak", "p99 ms", "refused", "refused p99 ms", "failed")
    return table(head, [*rows, target])
