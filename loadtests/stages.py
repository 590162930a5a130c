"""Measures the CPU time of a request by stage, with arithmetic in place of the encoders.

What encoders take depends on the model and its engine, and on a GPU it is no CPU time; all else is a gateway's.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import ModelManifest
from loadtests import closed_loop
from loadtests.bodies import Calls, embed, photo
from loadtests.commands import DEMO, Artifact, Rounds, Seconds
from loadtests.fake_backend import FakeBackend
from loadtests.load import median
from loadtests.observe import Others, busy_and_idle, cpu_seconds, cpu_seconds_of_all
from loadtests.process import PATIENT, Server, fake_triton, started
from loadtests.report import machine_facts, ms, table
from loadtests.scenarios import SCENARIOS
from loadtests.turns import interleaved

_CALLS = 15  # of the fake encoder, to measure it
_SIZES = ((640, 480), (1024, 768), (4000, 3000))
_HEAD = ("request", "encoders", "event loop", "its threads", "decoders", "CPU ms", "requests/s", "cores idle")
_NOTE = """\
Encoders in process: their calls are left out. Behind Triton: with the call to it, without Triton. A gateway's event
loop is on one core: it serves at most 1000 / "event loop" requests a second."""


class Cost(NamedTuple):
    """CPU seconds of one request: in the thread of the event loop, in all others of its process, in decoders.

    `rate`: requests a second. `idle`: a share of the time of all cores.
    """

    loop: float
    threads: float
    decoders: float
    rate: float
    idle: float


def stages(
    artifact: Artifact = DEMO,
    photos: Annotated[
        list[Path] | None, typer.Option("--photo", help="Instead of three sizes of one.")
    ] = None,
    clients: int = 8,
    seconds: Seconds = 4.0,
    rounds: Rounds = 5,
) -> None:
    """CPU milliseconds of a photo and of a text by stage: the gateway's event loop, its threads, its decoders."""
    images = {path.name: path.read_bytes() for path in photos or ()}
    images = images or {f"{width} x {height}": photo(width, height) for width, height in _SIZES}
    calls: dict[str, Calls] = {name: embed(image) for name, image in images.items()}
    calls["a short text"] = SCENARIOS["text-8"].calls()
    manifest, others = read_manifest(artifact), Others()
    with (
        started("loadtests.fake_service", models=str(artifact), **PATIENT) as alone,
        fake_triton(artifact) as triton,
        started(
            "clipserve", models=str(triton.artifact), backend="triton", triton_url=triton.url, **PATIENT
        ) as before_triton,
    ):
        servers = {"in process": alone, "behind Triton": before_triton}
        kinds = {f"{name}, {where}": (name, where) for name in calls for where in servers}
        loops = {
            kind: partial(_cost, servers[where], calls[name], clients)
            for kind, (name, where) in kinds.items()
        }
        found = interleaved(loops, seconds, rounds, lambda cost: cost.rate)
        warning = others.warning()  # while the services live: what an ended one took counts as another's
    arithmetic = _arithmetic(manifest)
    rows = []
    for kind, (name, where) in kinds.items():
        loop, threads, decoders, rate, idle = map(median, zip(*found[kind], strict=True))
        loop -= arithmetic if where == "in process" and name in images else 0.0
        cells = (loop, threads, decoders, loop + threads + decoders)
        rows.append([name, where, *map(ms, cells), f"{rate:,.0f}", f"{idle:.0%}"])
    typer.echo(f"{', '.join(f'{name} {fact}' for name, fact in machine_facts().items())}\n")
    typer.echo(f"{table(_HEAD, rows)}\n\n{_NOTE}\n{warning}")


def _cost(server: Server, calls: Calls, clients: int, seconds: float) -> Cost:
    before = _seconds(server.pid or 0)
    load = closed_loop.run(server.url, calls, clients, seconds)
    if len(load.good) < len(load.answers) or not load.answers:
        raise SystemExit(f"not all requests were answered with 200: {dict(load.statuses)}")
    *spent, busy, idle = [now - then for then, now in zip(before, _seconds(server.pid or 0), strict=True)]
    loop, threads, decoders = [round(each, 3) / len(load.answers) for each in spent]
    return Cost(loop, threads, decoders, len(load.answers) / load.seconds, idle / (busy + idle))


def _seconds(pid: int) -> tuple[float, ...]:
    """Of loop, threads and decoders, and of all cores, busy and idle. A process's first thread runs the loop."""
    loop, process = cpu_seconds(f"{pid}/task/{pid}"), cpu_seconds(pid)
    return loop, process - loop, cpu_seconds_of_all(pid) - process, *busy_and_idle()


def _arithmetic(manifest: ModelManifest) -> float:
    """CPU seconds that the fake encoder takes of the event loop for an image."""
    size, encoder = manifest.image.size, FakeBackend(manifest.embed_dim)
    pixels = np.zeros((1, size, size, 3), np.uint8)
    began = time.process_time()
    for _ in range(_CALLS):
        encoder.vectors(pixels)
    return (time.process_time() - began) / _CALLS
