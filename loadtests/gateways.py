"""Compares two gateways behind the edge with one, in turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated
from urllib.parse import urlsplit

import typer

from loadtests.commands import DEMO, Artifact, Rounds, Seconds
from loadtests.edge import Replica, edge
from loadtests.process import PATIENT, fake_triton, started
from loadtests.turns import in_turns, turns_table

_COUNTS = (1, 2)


def replicas(
    artifact: Artifact = DEMO,
    name: Annotated[str, typer.Option("--scenario")] = "text-8",
    decoders: Annotated[int, typer.Option(help="Of each gateway.")] = 1,
    clients: int = 16,
    seconds: Seconds = 4.0,
    rounds: Rounds = 5,
) -> None:
    """Requests a second of one gateway and of two behind HAProxy, in turns, in front of a fake Triton."""
    with fake_triton(artifact) as triton:
        own = {"models": str(triton.artifact), "backend": "triton", "triton_url": triton.url}
        with edges(own | {"decode_threads": str(decoders)}) as urls:
            turns = in_turns(urls, name, clients, seconds, rounds)
    typer.echo(turns_table("gateways", {name: turns}))


@contextmanager
def edges(settings: dict[str, str]) -> Iterator[dict[str, str]]:
    """Run two gateways with these settings; yield the URLs of an edge before one, and of an edge before both."""
    with ExitStack() as stack:
        servers = [stack.enter_context(started("clipserve", **PATIENT | settings)) for _ in _COUNTS]
        ports = [
            Replica(urlsplit(each.url).port or 0, 0, urlsplit(each.metrics_url or "").port or 0)
            for each in servers
        ]
        yield {str(count): f"http://{stack.enter_context(edge(ports[:count]))}" for count in _COUNTS}
