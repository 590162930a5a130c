"""The commands: each starts what it needs, measures, and prints a table."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from loadtests import fair as fairness
from loadtests import overload as overloading
from loadtests.measure import Measurement
from loadtests.process import PATIENT, Server, started
from loadtests.report import results_table
from loadtests.scenarios import SCENARIOS, Scenario

DEMO = Path("service/clipserve/demo")

Artifact = Annotated[Path, typer.Argument(help="The artifact to serve; best ViT-B-32 with random weights.")]
Seconds = Annotated[float, typer.Option(help="Of each run.")]
Rounds = Annotated[int, typer.Option(help="Print the medians of so many rounds.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting of the service, as in threads=1.")]


def scenario(
    names: Annotated[str, typer.Argument(metavar="NAME,...", help=f"{', '.join(SCENARIOS)}; or all.")],
    artifact: Artifact = DEMO,
    clients: Annotated[int | None, typer.Option(help="Closed loop of so many.")] = None,
    rate: Annotated[float | None, typer.Option(help="Open loop of so many requests a second.")] = None,
    seconds: Seconds = 10.0,
    url: Annotated[str | None, typer.Option(help="A server that runs, in place of our own.")] = None,
    pid: Annotated[int | None, typer.Option(help="Of that server, if it runs here.")] = None,
    settings: Set = None,
) -> None:
    """Scenarios, each in a closed loop, or with --rate in an open one."""
    chosen = [*SCENARIOS.values()] if names == "all" else [_scenario(name) for name in names.split(",")]
    own, results = settings_of(settings, {} if rate else PATIENT), []
    with _server(artifact, Server(url, pid=pid) if url else None, own) as server:
        for each in chosen:
            measurement = Measurement(server, each)
            measurement.closed(min(2.0, seconds))  # caches, pages, clocks
            results.append(measurement.open(rate, seconds) if rate else measurement.closed(seconds, clients))
    typer.echo(results_table(results))


def overload(
    artifact: Artifact = DEMO,
    name: Annotated[str, typer.Option("--scenario")] = "embed-640x480",
    seconds: Seconds = 10.0,
    rounds: Rounds = 5,
    deadline: Annotated[float, typer.Option(help="Seconds; the service's, and that of good answers.")] = 10.0,
    settings: Set = None,
) -> None:
    """Capacity in a closed loop, then open loops at 0.5, 0.7, 0.9, 1.5 and 2 times as much."""
    own = settings_of(settings, {"deadline_seconds": str(deadline)})
    with _server(artifact, None, own) as server:
        measurement = Measurement(server, _scenario(name))
        measurement.closed(min(2.0, seconds))  # caches, pages, clocks
        levels, results = overloading.overload(measurement, seconds, rounds, deadline)
    typer.echo(f"{results_table(results)}\n\n{overloading.levels_table(levels)}")


def fair(
    artifact: Artifact = DEMO,
    seconds: Seconds = 15.0,
    rounds: Rounds = 3,
    settings: Set = None,
) -> None:
    """Single images alone, then while another client has 1,000 new labels scored, again and again."""
    own = settings_of(settings, {})
    with _server(artifact, None, own) as server:
        pairs = fairness.fair(server, seconds, rounds)
    results = [result for pair in pairs for result in (pair.alone, pair.beside, pair.big)]
    typer.echo(f"{results_table(results)}\n\n{fairness.verdict(pairs)}")


def _server(artifact: Path, running: Server | None, own: dict[str, str]) -> AbstractContextManager[Server]:
    return nullcontext(running) if running else started("clipserve", models=str(artifact), **own)


def _scenario(name: str) -> Scenario:
    if name not in SCENARIOS:
        raise typer.BadParameter(f"{name} is none of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def settings_of(given: list[str] | None, defaults: dict[str, str]) -> dict[str, str]:
    pairs = [setting.partition("=") for setting in given or []]
    return defaults | {name: value for name, _, value in pairs}
