"""Compares a service of this checkout with the limit of the machine.

The limit is the best bare loop in the precision of the service. The loop's own spread is the noise of the machine:
differences within it mean nothing.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from loadtests.bare_loop import bare_loops
from loadtests.bodies import Call, classify, embed, photo
from loadtests.client import ask
from loadtests.closed_loop import run
from loadtests.observe import Others
from loadtests.peers.report import rate, ratio
from loadtests.peers.rounds import CONTESTS, TakeTurn, bare, measure
from loadtests.process import started
from loadtests.report import table, tell


def limit(
    artifact: Annotated[Path, typer.Argument(help="An artifact, best ViT-B-32 with random weights.")],
    clients: int = 8,
    rounds: int = 15,
    seconds: float = 3.0,
    width: int = 640,
    height: int = 480,
) -> None:
    """Throughput of /embed and of /classify with ten warm labels beside bare loops, interleaved; medians."""
    image = photo(width, height)
    labels = [f"thing number {i}" for i in range(10)]
    with started("clipserve", models=str(artifact), max_queue_seconds=60) as server:

        def served(call: Call) -> TakeTurn:
            return bare(lambda seconds: run(server.url, call, clients, seconds).goodput())

        turns = {
            f"/embed, {clients} clients": served(embed(image)),
            f"/classify, 10 warm labels, {clients} clients": served(classify(image, labels)),
        }
        precision = ask(server.url, embed(image))["fingerprint"].rpartition("@")[2].partition("-")[0]
        loops = {name: loop for name, loop in bare_loops(artifact, image).items() if f" {precision}," in name}
        turns |= {name: bare(loop) for name, loop in loops.items()}
        cpu = f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores"
        typer.echo(f"{cpu}; JPEG {width} x {height}, {len(image):,} bytes; {rounds} rounds of {seconds:g} s")
        _report(turns, rounds, seconds)


def _report(participants: dict[str, TakeTurn], rounds: int, seconds: float) -> None:
    """Run interleaved rounds; report the median rates, and median ratios to the best bare loop."""
    others = Others()
    turns = measure(participants, CONTESTS[:1], rounds, seconds, tell)[CONTESTS[0].name]["turns"]
    best = max((name for name in turns if name.startswith("bare loop")), key=lambda name: rate(turns[name]))
    rows = []
    for name, own in turns.items():
        rates = [turn["rate"] for turn in own]
        spread = f"{min(rates):.1f} to {max(rates):.1f}"
        rows.append([name, f"{rate(own):.1f}", spread, f"{ratio(own, turns[best]):.2f}"])
    typer.echo(table(("", "images/s", "lowest to highest", "of the best loop"), rows))
    if warning := others.warning():
        typer.echo(warning)
