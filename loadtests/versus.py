"""Compares the speed of two checkouts of this repository.

Both services run at the same time, and one at a time is under load. The turns are short and alternate, so that
drift of the machine's speed affects both equally. The ratio is the median of the rounds' ratios.

A start changes a service's rate by up to a tenth for as long as it runs, even with the same checkout. So both are
restarted after a few rounds, in the other order each time.

CPU seconds a request depend less than the rate on other work of the machine. They are those of the service and its
decoders.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from loadtests.bodies import embed, embed_text, photo
from loadtests.client import ask
from loadtests.gateway import gateway
from loadtests.measure import Measurement
from loadtests.observe import cpu_seconds_of_all
from loadtests.process import Server, started
from loadtests.report import table
from loadtests.scenarios import SCENARIOS


@dataclass(frozen=True)
class Pace:
    """One turn: requests a second, and CPU seconds of the service for each request."""

    rate: float
    cpu: float


_ROUNDS_OF_A_START = 2

# (service, round, seconds, clients) -> (requests a second, requests).
Turn = Callable[[Server, int, float, int], tuple[float, int]]


@dataclass(frozen=True)
class Contest:
    """A comparison: a module to start in each checkout, and one turn of load."""

    name: str
    module: str
    turn: Turn


def _embed(server: Server, _: int, seconds: float, clients: int) -> tuple[float, int]:
    load = Measurement(server, SCENARIOS["embed-640x480"]).closed(seconds, clients).load
    return load.goodput(), len(load.answers)


def _gateway(server: Server, number: int, seconds: float, clients: int) -> tuple[float, int]:
    run = gateway(server, 2 * clients, seconds, 100_000 * (number + 1))
    return run.rate, run.requests


CONTESTS = (
    Contest("/embed of a photo", "clipserve", _embed),
    Contest("the gateway alone, texts", "loadtests.fake_service", _gateway),
)


def versus(
    other: Annotated[Path, typer.Argument(help="Another checkout, of the commit to compare with.")],
    artifact: Annotated[Path, typer.Argument(help="An artifact.")] = Path("service/clipserve/demo"),
    seconds: Annotated[float, typer.Option(help="Of one turn.")] = 5.0,
    rounds: Annotated[int, typer.Option(help="Pairs of turns.")] = 9,
    backend: Annotated[str, typer.Option(help="As the setting of the same name.")] = "onnx",
    clients: Annotated[int, typer.Option(help="That ask at a time; twice as many of the gateway alone.")] = 8,
) -> None:
    """Compare this checkout with another one, interleaved: requests a second of both, and their ratio."""
    rows = []
    for contest in CONTESTS:
        settings = {"models": str(artifact.resolve()), "backend": backend, "max_queue_seconds": "60"}
        here, there = _paces(contest, partial(_pace, contest, seconds, clients), other, rounds, settings)
        rates = [[pace.rate for pace in paces] for paces in (here, there)]
        cpu = [[1000 * pace.cpu for pace in paces] for paces in (here, there)]
        rows.append([f"{contest.name}: requests/s", *_row(*rates)])
        rows.append([f"{contest.name}: CPU ms a request", *_row(*cpu)])
    typer.echo(table(("", "here", "there", "ratio", "of single rounds"), rows))


def _row(here: list[float], there: list[float]) -> list[str]:
    ratios = [one / two for one, two in zip(here, there, strict=True)]
    medians = [f"{statistics.median(values):,.4g}" for values in (here, there)]
    return [*medians, f"{statistics.median(ratios):.3f}", f"{min(ratios):.3f} to {max(ratios):.3f}"]


def _paces(
    contest: Contest, pace: Callable[[Server, int], Pace], other: Path, rounds: int, settings: dict[str, str]
) -> tuple[list[Pace], list[Pace]]:
    """The paces of both checkouts."""
    paces: tuple[list[Pace], list[Pace]] = ([], [])
    for start, first_round in enumerate(range(0, rounds, _ROUNDS_OF_A_START)):
        with _started(contest, (Path.cwd(), other), settings, start % 2) as servers:
            if not start:
                typer.echo(f"{contest.name}: {_compared(*servers)}", err=True)
            for server in servers:
                pace(server, rounds)  # caches, pages, clocks
            for number in range(first_round, min(first_round + _ROUNDS_OF_A_START, rounds)):
                for which in (0, 1) if number % 2 else (1, 0):
                    paces[which].append(pace(servers[which], number))
    return paces


@contextmanager
def _started(
    contest: Contest, folders: tuple[Path, Path], settings: dict[str, str], first: int
) -> Iterator[tuple[Server, Server]]:
    """Run the services of both folders; that of `folders[first]` is started first."""
    servers: dict[int, Server] = {}
    with ExitStack() as stack:
        for which in (first, 1 - first):
            server = stack.enter_context(started(contest.module, folder=folders[which], **settings))
            # Without metrics: another version may have them elsewhere, and only rates are compared.
            servers[which] = replace(server, metrics_url=None)
        yield servers[0], servers[1]


def _pace(contest: Contest, seconds: float, clients: int, server: Server, number: int) -> Pace:
    assert server.pid  # we have started it
    before = cpu_seconds_of_all(server.pid)
    rate, requests = contest.turn(server, number, seconds, clients)
    return Pace(rate, (cpu_seconds_of_all(server.pid) - before) / max(1, requests))


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
