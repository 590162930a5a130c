"""Compares a service of this checkout with the limit of the machine.

The limit is the best bare loop in the precision of the service. The loop's own spread is the noise of the machine:
differences within it mean nothing.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable

import typer

from loadtests.bare_loop import bare_loops
from loadtests.bodies import Call, classify, embed, photo
from loadtests.client import ask
from loadtests.closed_loop import run
from loadtests.commands import Artifact, Rounds, Seconds
from loadtests.load import median
from loadtests.observe import Others
from loadtests.process import started
from loadtests.report import table
from loadtests.turns import interleaved, ratios


def limit(
    artifact: Artifact,
    clients: int = 8,
    rounds: Rounds = 15,
    seconds: Seconds = 3.0,
    width: int = 640,
    height: int = 480,
) -> None:
    """Throughput of /embed and of /classify with ten warm labels beside bare loops, interleaved; medians."""
    image, others = photo(width, height), Others()
    labels = [f"thing number {i}" for i in range(10)]
    with started("clipserve", models=str(artifact), max_queue_seconds=60) as server:

        def served(call: Call) -> Callable[[float], float]:
            return lambda seconds: run(server.url, call, clients, seconds).goodput()

        loops = {
            f"/embed, {clients} clients": served(embed(image)),
            f"/classify, 10 warm labels, {clients} clients": served(classify(image, labels)),
        }
        precision = ask(server.url, embed(image))["fingerprint"].rpartition("@")[2].partition("-")[0]
        loops |= {name: loop for name, loop in bare_loops(artifact, image).items() if f" {precision}," in name}
        cpu = f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores"
        typer.echo(f"{cpu}; JPEG {width} x {height}, {len(image):,} bytes; {rounds} rounds of {seconds:g} s")
        rates = interleaved(loops, seconds, rounds, float)
    best = max((own for name, own in rates.items() if name.startswith("bare loop")), key=median)
    rows = [
        [name, f"{median(own):.1f}", f"{min(own):.1f} to {max(own):.1f}", f"{ratios(own, best)[0]:.2f}"]
        for name, own in rates.items()
    ]
    typer.echo(table(("", "images/s", "lowest to highest", "of the best loop"), rows))
    typer.echo(others.warning())
