"""Compares the speed of two checkouts of this repository.

Both services run at the same time, and one at a time is under load. The turns are short and alternate, so that
drift of the machine's speed affects both equally. The ratio is the median of the rounds' ratios.

A start changes a service's rate by up to a tenth for as long as it runs, even with the same checkout. So both are
restarted after a few rounds, in the other order each time.

CPU seconds a request depend less than the rate on other work of the machine. They are those of the service and its
decoders.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from loadtests import closed_loop, rpc_loop
from loadtests.bodies import embed, embed_text, photo
from loadtests.client import ask
from loadtests.commands import DEMO, Artifact, Rounds, Seconds
from loadtests.load import median
from loadtests.observe import cpu_seconds_of_all
from loadtests.process import Server, started
from loadtests.report import table, tell
from loadtests.scenarios import SCENARIOS
from loadtests.turns import interleaved, ratios

_ROUNDS_OF_A_START = 2

# Of one turn: requests a second, and CPU milliseconds of the service for each request.
Pace = tuple[float, float]

# The module that is started in each checkout, and the scenario of its load.
CONTESTS = {
    "/embed of a photo": ("clipserve", "embed-640x480"),
    "/embed of a photo in a form": ("clipserve", "embed-form"),
    "/embed of a photo in JSON": ("clipserve", "embed-json"),
    "/classify of a photo, ten labels": ("clipserve", "classify-10-warm"),
    "the gateway alone, texts": ("loadtests.fake_service", "text-8"),
    "the gateway alone, /classify": ("loadtests.fake_service", "classify-10-warm"),
    "gRPC, Embed of a photo": ("clipserve", "rpc-photo"),
    "the gateway alone, gRPC, Embed of a text": ("loadtests.fake_service", "rpc-text"),
    "the gateway alone, gRPC, texts of an EmbedStream": ("loadtests.fake_service", "rpc-stream"),
}


def versus(
    other: Annotated[Path, typer.Argument(help="Another checkout, of the commit to compare with.")],
    artifact: Artifact = DEMO,
    seconds: Seconds = 5.0,
    rounds: Rounds = 9,
    backend: Annotated[str, typer.Option(help="As the setting of the same name.")] = "onnx",
    clients: Annotated[int, typer.Option(help="That ask at a time.")] = 8,
    only: Annotated[str, typer.Option(help="Contests whose names hold this.")] = "",
) -> None:
    """Compare this checkout with another one, interleaved: requests a second of both, and their ratio."""
    settings = {"models": str(artifact.resolve()), "backend": backend, "max_queue_seconds": "60"}
    settings["grpc_enabled"] = "true"
    rows = []
    for name in filter(lambda name: only in name, CONTESTS):
        module, scenario = CONTESTS[name]
        paces: dict[str, list[Pace]] = {"here": [], "there": []}
        for start, first in enumerate(range(0, rounds, _ROUNDS_OF_A_START)):
            with _started(module, (Path.cwd(), other), settings, start % 2) as servers:
                if not start:
                    tell(f"{name}: {_compared(*servers)}")
                pairs = zip(paces, servers, strict=True)
                loops = {where: partial(_pace, scenario, server, clients) for where, server in pairs}
                count = min(_ROUNDS_OF_A_START, rounds - first)
                found = interleaved(loops, seconds, count, lambda pace: pace[0])
            paces = {where: own + found[where] for where, own in paces.items()}
        here, there = (list(zip(*own, strict=True)) for own in paces.values())
        rows += [[f"{name}: requests/s", *_row(here[0], there[0])]]
        rows += [[f"{name}: CPU ms a request", *_row(here[1], there[1])]]
    typer.echo(table(("", "here", "there", "ratio", "of single rounds"), rows))


def _row(here: Sequence[float], there: Sequence[float]) -> list[str]:
    ratio, least, most = ratios(here, there)
    return [f"{median(here):,.4g}", f"{median(there):,.4g}", f"{ratio:.3f}", f"{least:.3f} to {most:.3f}"]


@contextmanager
def _started(
    module: str, folders: tuple[Path, Path], settings: dict[str, str], first: int
) -> Iterator[tuple[Server, Server]]:
    """Run the services of both folders; that of `folders[first]` is started first."""
    servers: dict[int, Server] = {}
    with ExitStack() as stack:
        for which in (first, 1 - first):
            servers[which] = stack.enter_context(started(module, folder=folders[which], **settings))
        yield servers[0], servers[1]


def _pace(scenario: str, server: Server, clients: int, seconds: float) -> Pace:
    before = cpu_seconds_of_all(server.pid or 0)
    if scenario in rpc_loop.LOADS:
        rate, answers = rpc_loop.run(server.grpc, scenario, clients, seconds)
    else:
        load = closed_loop.run(server.url, SCENARIOS[scenario].calls(), clients, seconds)
        rate, answers = load.goodput(), len(load.answers)
    spent = cpu_seconds_of_all(server.pid or 0) - before
    return rate, 1000 * spent / max(1, answers)


def _compared(one: Server, other: Server) -> str:
    """Compare the vectors of both for three photos and three texts."""
    calls = [embed(photo(*size)) for size in ((640, 480), (480, 640), (1920, 1080))]
    calls += [embed_text(text) for text in ("a cat", "a photo of two dogs in the snow", "0123456789")]
    ours, theirs = ([ask(server.url, call) for call in calls] for server in (one, other))
    rows = [result["embedding"] for answer in ours for result in answer["results"]]
    others = [result["embedding"] for answer in theirs for result in answer["results"]]
    difference = float(np.abs(np.array(rows) - np.array(others)).max())
    names = {answer["fingerprint"] for answer in (*ours, *theirs)}
    return f"largest difference of a value {difference:g}; fingerprints {', '.join(sorted(names))}"
