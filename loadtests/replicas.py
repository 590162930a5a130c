"""Compares one gateway with two behind the edge, in front of a fake Triton: the gain of the second."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from loadtests import closed_loop
from loadtests.edge import Replica, edge
from loadtests.load import Load
from loadtests.process import fake_triton, started
from loadtests.report import ms, table
from loadtests.scenarios import SCENARIOS

_PATIENT = {"max_queue_seconds": "60", "deadline_seconds": "60", "grpc_enabled": "false"}
_COUNTS = (1, 2)


def replicas(
    artifact: Annotated[Path, typer.Argument(help="An artifact; it is served as one of arithmetic.")] = Path(
        "service/clipserve/demo"
    ),
    name: Annotated[str, typer.Option("--scenario")] = "text-8",
    decoders: Annotated[int, typer.Option(help="Of each gateway.")] = 1,
    clients: int = 16,
    seconds: Annotated[float, typer.Option(help="Of each turn.")] = 4.0,
    rounds: Annotated[int, typer.Option(help="Print the medians of so many.")] = 5,
) -> None:
    """Requests a second of one gateway and of two behind HAProxy, in turns, in front of a fake Triton."""
    calls = SCENARIOS[name].calls()
    turns: list[dict[int, Load]] = []
    with fake_triton(artifact) as triton:
        own = {"models": str(triton.artifact), "backend": "triton", "triton_url": triton.url}
        with edges(own | {"decode_threads": str(decoders)}) as urls:
            for url in urls.values():
                closed_loop.run(url, calls, clients, min(seconds, 2.0))  # caches, pages, clocks
            for number in range(rounds):
                order = _COUNTS if number % 2 else _COUNTS[::-1]
                turns.append(
                    {count: closed_loop.run(urls[count], calls, clients, seconds) for count in order}
                )
                rates = ", ".join(f"{count}: {turns[-1][count].goodput():.1f}" for count in _COUNTS)
                typer.echo(f"  {name}, {rates} a second", err=True)
    typer.echo(turns_table(name, turns))


@contextmanager
def edges(settings: dict[str, str]) -> Iterator[dict[int, str]]:
    """Run two gateways with these settings; yield the URLs of an edge before one, and of an edge before both."""
    with ExitStack() as stack:
        servers = [stack.enter_context(started("clipserve", **_PATIENT | settings)) for _ in _COUNTS]
        ports = [
            Replica(urlsplit(each.url).port or 0, 0, urlsplit(each.metrics_url or "").port or 0)
            for each in servers
        ]
        yield {count: f"http://{stack.enter_context(edge(ports[:count]))}" for count in _COUNTS}


def turns_table(name: str, turns: list[dict[int, Load]]) -> str:
    """Medians of the rounds, and of the ratios of each round."""
    rows = []
    for count in _COUNTS:
        loads = [turn[count] for turn in turns]
        ratios = [turn[count].goodput() / turn[1].goodput() for turn in turns]
        rows.append([
            name, str(count), f"{statistics.median(load.goodput() for load in loads):,.1f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            *(ms(statistics.median(load.percentile(share) for load in loads)) for share in (0.5, 0.99)),
            str(sum(load.failed + len(load.refusals) for load in loads)),
        ])  # fmt: skip
    head = ("scenario", "gateways", "requests/s", "times one", "p50 ms", "p99 ms", "not answered")
    return table(head, rows)
