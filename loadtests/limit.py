"""A service of this checkout beside the limit of the machine.

The limit is the best bare loop in the precision that the service computes in. The loop's own spread is the noise of
the machine: what is within it says nothing.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from loadtests.bare_loop import arrangements, bare_loop
from loadtests.bodies import classify, embed, photo
from loadtests.closed_loop import run
from loadtests.observe import Others
from loadtests.process import started
from loadtests.report import table

Measures = dict[str, Callable[[float], float]]


def limit(
    artifact: Annotated[Path, typer.Argument(help="An artifact, best ViT-B-32 with random weights.")],
    clients: int = 8,
    rounds: int = 15,
    seconds: float = 3.0,
    width: int = 640,
    height: int = 480,
) -> None:
    """Throughput of /embed and of /classify with ten warm labels beside bare loops, interleaved; medians."""
    size = json.loads((artifact / "model.json").read_text("utf-8"))["image"]["size"]
    image = photo(width, height)
    labels = [f"thing number {i}" for i in range(10)]
    cores = len(os.sched_getaffinity(0))
    with started("clipserve", models=str(artifact), max_queue_seconds=60) as server:

        def served(call: str) -> Callable[[float], float]:
            body = embed(image) if call == "embed" else classify(image, labels)
            return lambda seconds: run(server.url, body, clients, seconds).rate

        measures: Measures = {
            f"/embed, {clients} clients": served("embed"),
            f"/classify, 10 warm labels, {clients} clients": served("classify"),
        }
        precision = "bf16" if "@bf16" in fingerprint(server.url) else "fp32"
        for each in arrangements(cores):
            if each.precision == precision:
                measures[str(each)] = bare_loop(artifact, size, image, each)
        typer.echo(f"{platform.processor() or platform.machine()}, {cores} cores; JPEG {width} x {height}, "
                   f"{len(image):,} bytes; {rounds} rounds of {seconds:g} s")  # fmt: skip
        _report(measures, rounds, seconds)


def fingerprint(url: str) -> str:
    """Of the model that is served, with the precision that its encoders compute in."""
    with urllib.request.urlopen(f"{url}/v1/models", timeout=60) as answer:
        return str(json.load(answer)["data"][0]["fingerprint"])


def _report(measures: Measures, rounds: int, seconds: float) -> None:
    """Interleaved rounds; then for each the median of its rates, and of its ratios to the best bare loop."""
    for measure in measures.values():
        measure(min(2.0, seconds))  # warm: caches, pages, clocks
    rates: dict[str, list[float]] = {name: [] for name in measures}
    others = Others()
    for number in range(rounds):
        for name, measure in measures.items():
            rates[name].append(measure(seconds))
            typer.echo(f"  round {number + 1}: {name}: {rates[name][-1]:.1f}/s", err=True)
    loops = [name for name in rates if name.startswith("bare loop")]
    best = max(loops, key=lambda name: statistics.median(rates[name]))
    rows = []
    for name, values in rates.items():
        share = statistics.median(value / top for value, top in zip(values, rates[best], strict=True))
        spread = f"{min(values):.1f} to {max(values):.1f}"
        rows.append([name, f"{statistics.median(values):.1f}", spread, f"{share:.2f}"])
    typer.echo(table(("", "images/s", "lowest to highest", "of the best loop"), rows))
    if warning := others.warning():
        typer.echo(warning)
