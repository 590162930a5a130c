"""`capacity-check` measures what an image takes and tries the model; `capacity` answers how much is needed."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import statistics
from pathlib import Path
from typing import Annotated

import typer

from loadtests.capacity import fit
from loadtests.capacity.model import Costs, Site, latencies
from loadtests.capacity.plan import Impossible, Promise, plan
from loadtests.commands import DEMO, Artifact, Rounds, Set, settings_of
from loadtests.load import percentile
from loadtests.measure import Measurement
from loadtests.process import started
from loadtests.report import ms, table
from loadtests.scenarios import SCENARIOS

LOADS = (0.5, 0.7, 0.9)
MILLION_AN_HOUR = 1_000_000 / 3_600
_PATIENT = {"max_queue_seconds": "60", "deadline_seconds": "60"}


def capacity_check(
    artifact: Artifact = DEMO,
    name: Annotated[str, typer.Option("--scenario", help="Of one image a request.")] = "embed-640x480",
    seconds: Annotated[float, typer.Option(help="Of each run.")] = 20.0,
    rounds: Rounds = 5,
    out: Annotated[Path | None, typer.Option(help="A file for the costs, for `capacity`.")] = None,
    settings: Set = None,
) -> None:
    """What an image takes; then the model beside what is measured, at 50, 70 and 90 % of the capacity."""
    cores = len(os.sched_getaffinity(0))
    fitted: list[Costs] = []
    lines: dict[float, list[tuple[float, float, float, float]]] = {load: [] for load in LOADS}
    with started("clipserve", models=str(artifact), **settings_of(settings, _PATIENT)) as server:
        measurement = Measurement(server, SCENARIOS[name])
        measurement.closed(2.0)  # caches, pages, clocks
        for number in range(rounds):
            costs, most = fit.measure(measurement, cores, seconds / 2)
            fitted.append(costs)
            typer.echo(f"  round {number + 1}: {most:.1f} images/s; {_told(costs)}", err=True)
            for load in LOADS:
                rate = load * most
                seen = measurement.open(rate, seconds, random.Random(number)).load.good
                modelled = latencies(Site(cores=cores), costs, rate, seed=number)
                both = [percentile(each, share) for share in (0.5, 0.99) for each in (seen, modelled)]
                lines[load].append((both[0], both[1], both[2], both[3]))
    typer.echo(_check_table(lines))
    costs = _median(fitted)
    typer.echo(f"\nMedians of {rounds}: {_told(costs)}")
    if out:
        out.write_text(json.dumps(dataclasses.asdict(costs), indent=1), "utf-8")


def capacity(
    costs: Annotated[Path, typer.Argument(help="What an image takes, as `capacity-check --out` writes it.")],
    rate: Annotated[
        list[float] | None, typer.Option(help="Images a second; 277.8 are a million an hour.")
    ] = None,
    p99: Annotated[float, typer.Option(help="Seconds within which 99 % are to be answered.")] = 0.5,
    away: Annotated[float, typer.Option(help="The share of pods that may be away, as 0.34.")] = 0.0,
    cores: Annotated[int, typer.Option(help="Of a gateway.")] = 2,
    gpu: Annotated[
        bool, typer.Option(help="The encoders are on Triton, not on the gateways' cores.")
    ] = False,
) -> None:
    """How many gateways, cores and devices keep a promise."""
    known = Costs(**json.loads(costs.read_text("utf-8")))
    pod = Site(cores=cores, devices=1 if gpu else 0)
    served = dataclasses.replace(
        known, client=0.0, jitter=tuple(known.jitter)
    )  # clients have their own machines
    rows = []
    for each in rate or [10.0, 100.0, MILLION_AN_HOUR]:
        try:
            found = plan(Promise(each, p99, away), pod, served)
        except Impossible as error:
            raise SystemExit(str(error)) from None
        rows.append(
            [f"{each:.1f}", str(found.gateways), str(found.gateways * cores), str(found.devices or "-"),
             str(found.left.gateways), ms(found.p50), ms(found.p99)]
        )  # fmt: skip
    head = ("images/s", "gateways", "their cores", "devices", "gateways left", "p50 ms", "p99 ms")
    typer.echo(table(head, rows))


def _check_table(lines: dict[float, list[tuple[float, float, float, float]]]) -> str:
    """Medians over the rounds; the ratios are medians of each round's own."""
    rows = []
    for load, rounds in lines.items():
        middle = [ms(statistics.median(column)) for column in zip(*rounds, strict=True)]
        ratios = [
            statistics.median(modelled / seen for seen, modelled in pairs)
            for pairs in ([(r[0], r[1]) for r in rounds], [(r[2], r[3]) for r in rounds])
        ]
        rows.append([f"{load:.0%}", *middle[:2], f"{ratios[0]:.2f}", *middle[2:], f"{ratios[1]:.2f}"])
    head = ("load", "p50 ms", "modelled", "ratio", "p99 ms", "modelled", "ratio")
    return table(head, rows)


def _told(costs: Costs) -> str:
    parts = ("client", "loop", "decode", "call", "row")
    return ", ".join(f"{part} {ms(getattr(costs, part))} ms" for part in parts)


def _median(fitted: list[Costs]) -> Costs:
    """The median of each cost; the jitter of all."""
    middle = {
        name: statistics.median(getattr(costs, name) for costs in fitted)
        for name in ("client", "loop", "decode", "call", "row")
    }
    rows = max(costs.max_batch for costs in fitted)
    return Costs(
        **middle, max_batch=rows, jitter=tuple(factor for costs in fitted for factor in costs.jitter)
    )
