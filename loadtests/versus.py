"""Two checkouts of this repository, side by side: is one slower than the other?

Both services run at the same time, and only one is under load at a time. The turns are short and alternate, so that
a machine whose speed drifts is as fast for one as for the other. The ratio is the median of those of the rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from loadtests.gateway import gateway
from loadtests.measure import Measurement
from loadtests.process import Server, started_in
from loadtests.report import table
from loadtests.scenarios import SCENARIOS

Turn = Callable[[Server, int], float]  # a service and the number of the round -> requests a second


@dataclass(frozen=True)
class Contest:
    """What is compared: a module to start in each checkout, and one turn of load."""

    name: str
    module: str
    turn: Callable[[float], Turn]


def _embed(seconds: float) -> Turn:
    return lambda server, _: Measurement(server, SCENARIOS["embed-640x480"]).closed(seconds, 8).load.goodput()


def _gateway(seconds: float) -> Turn:
    return lambda server, round_: gateway(server, 16, seconds, 100_000 * (round_ + 1)).texts.rate


CONTESTS = (
    Contest("/embed of a photo, 8 clients", "service", _embed),
    Contest("the gateway alone, texts", "loadtests.fake_service", _gateway),
)


def versus(
    other: Annotated[Path, typer.Argument(help="Another checkout, of the commit to compare with.")],
    artifact: Annotated[Path, typer.Argument(help="An artifact.")] = Path("models/demo"),
    seconds: Annotated[float, typer.Option(help="Of one turn.")] = 5.0,
    rounds: Annotated[int, typer.Option(help="Pairs of turns.")] = 9,
    backend: Annotated[str, typer.Option(help="As the setting of the same name.")] = "onnx",
) -> None:
    """This checkout beside another one, interleaved: requests a second of both, and their ratio."""
    rows = []
    for contest in CONTESTS:
        here, there = _rates(contest.module, contest.turn(seconds), other, artifact, rounds, backend)
        ratios = [one / two for one, two in zip(here, there, strict=True)]
        rows.append(
            [
                contest.name,
                f"{statistics.median(here):,.1f}",
                f"{statistics.median(there):,.1f}",
                f"{statistics.median(ratios):.3f}",
                f"{min(ratios):.3f} to {max(ratios):.3f}",
            ]
        )
    typer.echo(table(("", "here", "there", "ratio", "of single rounds"), rows))


def _rates(
    module: str, turn: Turn, other: Path, artifact: Path, rounds: int, backend: str
) -> tuple[list[float], list[float]]:
    settings = {"models": str(artifact.resolve()), "backend": backend, "max_queue_seconds": "60"}
    with ExitStack() as stack:
        servers = [
            stack.enter_context(started_in(folder, module, **settings)) for folder in (Path.cwd(), other)
        ]
        for server in servers:
            turn(server, rounds)  # caches, pages, clocks
        rates: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                rates[which].append(turn(servers[which], number))
    return rates
