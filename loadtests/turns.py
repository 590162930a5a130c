"""Compares servers in interleaved turns of load, so that a slower machine slows all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from loadtests.load import Load, median
from loadtests.report import ms, table, tell

T = TypeVar("T")
Turns = Mapping[str, Sequence[Load]]  # server -> its loads, one of each round


def interleaved(
    loops: Mapping[str, Callable[[float], T]], seconds: float, rounds: int, shown: Callable[[T], float]
) -> dict[str, list[T]]:
    """The results of each loop, one of each round, after a rehearsal; every second round in the other order."""
    for loop in loops.values():
        loop(min(seconds, 2.0))  # caches, pages, clocks
    found: dict[str, list[T]] = {name: [] for name in loops}
    for number in range(rounds):
        for name in list(loops)[:: 1 if number % 2 else -1]:
            found[name].append(loops[name](seconds))
            tell(f"  round {number + 1}: {name}: {shown(found[name][-1]):.1f}/s")
    return found


def ratios(ones: Iterable[float], others: Iterable[float]) -> tuple[float, float, float]:
    """The median of the rounds' ratios, the least and the most."""
    found = [one / other for one, other in zip(ones, others, strict=True)]
    return median(found), min(found), max(found)


def turns_table(servers: str, measured: Mapping[str, Turns]) -> str:
    """Medians of the rounds, and of each round's ratio to its first server. `servers`: what differs, in a word."""
    rows = [
        _row(what, name, loads, next(iter(turns.values())))
        for what, turns in measured.items()
        for name, loads in turns.items()
    ]
    return table(("", servers, "requests/s", "times the first", "p50 ms", "p99 ms", "not answered"), rows)


def _row(what: str, name: str, loads: Sequence[Load], first: Sequence[Load]) -> list[str]:
    rates, base = ([load.goodput() for load in each] for each in (loads, first))
    ratio, least, most = ratios(rates, base)
    return [
        what, name, f"{median(rates):,.1f}", f"{ratio:.2f} ({least:.2f} to {most:.2f})",
        *(ms(median(load.percentile(share) for load in loads)) for share in (0.5, 0.99)),
        str(sum(load.failed + len(load.refusals) for load in loads)),
    ]  # fmt: skip
