"""One process and two, in front of a Triton that costs next to nothing: what does the second one bring?

Both gateways run, and take turns under load. For each turn the CPU time is told apart: the gateway's own processes,
those that decode for it, Triton, the client, and what nobody used. That shows what the limit was.
"""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from loadtests import closed_loop
from loadtests.load import Load
from loadtests.observe import cpu_seconds, process_tree
from loadtests.process import FakeTriton, Server, fake_triton, started
from loadtests.report import ms, table
from loadtests.scenarios import SCENARIOS, Scenario

_PATIENT = {"max_queue_seconds": "60", "deadline_seconds": "60"}
_DECODER = b"clipserve.clip.decoder"
_DEFAULT = ("embed-12mp", "embed-640x480", "text-8")


@dataclass(frozen=True)
class Turn:
    """`cpu`: seconds by who used them. `idle`: cores that nobody used, these or others."""

    scenario: str
    processes: int
    load: Load
    cpu: dict[str, float]
    idle: float

    @property
    def cores(self) -> float:
        """Used by all of these together."""
        return sum(self.cpu.values()) / self.load.seconds


def processes(
    artifact: Annotated[Path, typer.Argument(help="An artifact; it is served as one of arithmetic.")] = Path(
        "service/clipserve/demo"
    ),
    names: Annotated[
        list[str] | None, typer.Option("--scenario", help="Default: large, small, text.")
    ] = None,
    decoders: Annotated[int, typer.Option(help="Of each process; 0: the cores, shared out.")] = 1,
    clients: int = 8,
    seconds: Annotated[float, typer.Option(help="Of each turn.")] = 4.0,
    rounds: Annotated[int, typer.Option(help="Print the medians of so many.")] = 5,
    kill: Annotated[
        bool, typer.Option(help="In the end kill one of two processes in the middle of a turn.")
    ] = False,
) -> None:
    """One process and two, interleaved, with arithmetic behind Triton's protocol, and where the CPU time went."""
    turns = []
    with fake_triton(artifact) as triton, gateways(triton, decoders) as servers:
        for name in names or _DEFAULT:
            turns += take_turns(triton, servers, SCENARIOS[name], clients, seconds, rounds)
        typer.echo(turns_table(turns))
        if kill:
            load = one_is_killed(servers[2], SCENARIOS[turns[-1].scenario], clients, seconds)
            typer.echo(
                f"\nOne of two processes killed: {len(load.good):,} answered, {load.failed} lost, "
                f"{len(load.refusals)} refused, the slowest after {max(load.good):.2f} s."
            )


@contextmanager
def gateways(
    triton: FakeTriton, decoders: int, counts: tuple[int, ...] = (1, 2)
) -> Iterator[dict[int, Server]]:
    """For each number of processes a gateway. `decoders`: of each process; 0: as many as cores, shared out."""
    with ExitStack() as stack:
        own = _PATIENT | {"models": str(triton.artifact), "backend": "triton", "triton_url": triton.url}
        yield {
            count: stack.enter_context(
                started("clipserve", **own, processes=count, decode_threads=count * decoders)
            )
            for count in counts
        }


def take_turns(
    triton: FakeTriton,
    servers: dict[int, Server],
    scenario: Scenario,
    clients: int,
    seconds: float,
    rounds: int,
) -> list[Turn]:
    """So many turns of each gateway, one after the other; the first of a round is the other one each time."""
    turns = []
    for server in servers.values():
        closed_loop.run(server.url, scenario.calls(), clients, min(seconds, 2.0))  # caches, pages, clocks
    for each in range(rounds):
        order = list(servers.items())
        for count, server in order if each % 2 else reversed(order):
            turn = _turn(triton, count, server, scenario, clients, seconds)
            typer.echo(f"  {scenario.name}, {count}: {turn.load.goodput():.1f} a second", err=True)
            turns.append(turn)
    return turns


def one_is_killed(server: Server, scenario: Scenario, clients: int, seconds: float) -> Load:
    """A turn, in the middle of which one of the gateway's processes ends by SIGKILL."""
    timer = threading.Timer(seconds / 2, os.kill, [process_tree(server.pid or 0)[1], signal.SIGKILL])
    timer.start()
    return closed_loop.run(server.url, scenario.calls(), clients, seconds)


def _turn(
    triton: FakeTriton, count: int, server: Server, scenario: Scenario, clients: int, seconds: float
) -> Turn:
    before, idle, began = _cpu(triton, server), _idle_seconds(), time.perf_counter()
    load = closed_loop.run(server.url, scenario.calls(), clients, seconds)
    lasted = time.perf_counter() - began
    cpu = {who: after - before[who] for who, after in _cpu(triton, server).items()}
    cpu["client"] = load.client_cpu * len(load.answers)
    return Turn(scenario.name, count, load, cpu, (_idle_seconds() - idle) / lasted)


def _cpu(triton: FakeTriton, server: Server) -> dict[str, float]:
    """CPU seconds by who has used them. Processes that end meanwhile would be missing: here none does."""
    used = {"gateway": 0.0, "decoding": 0.0, "triton": cpu_seconds(triton.pid)}
    for pid in process_tree(server.pid or 0):
        decodes = _DECODER in Path(f"/proc/{pid}/cmdline").read_bytes()
        used["decoding" if decodes else "gateway"] += cpu_seconds(pid)
    return used


def _idle_seconds() -> float:
    """Of all cores together, since the machine started."""
    idle, waiting = Path("/proc/stat").read_text("utf-8").split(maxsplit=6)[4:6]
    return (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")


def turns_table(turns: list[Turn]) -> str:
    """Medians of the rounds, and of the ratios of each round."""
    rows = []
    for name in dict.fromkeys(turn.scenario for turn in turns):
        rates: dict[int, list[float]] = {}
        for count in sorted({turn.processes for turn in turns}):
            own = [turn for turn in turns if (turn.scenario, turn.processes) == (name, count)]
            rates[count] = [turn.load.goodput() for turn in own]
            ratios = [one / first for one, first in zip(rates[count], rates[1], strict=True)]
            rows.append([
                name, str(count), f"{statistics.median(rates[count]):,.1f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                *(_each(own, who) for who in ("gateway", "decoding", "triton", "client")),
                f"{statistics.median(turn.cores for turn in own):.2f}",
                f"{statistics.median(turn.idle for turn in own):.2f}",
                str(sum(turn.load.failed + len(turn.load.refusals) for turn in own)),
            ])  # fmt: skip
    head = (
        "scenario", "processes", "requests/s", "times one process", "CPU ms: gateway", "decoding", "Triton",
        "client", "cores used", "idle", "not answered",
    )  # fmt: skip
    return table(head, rows)


def _each(turns: list[Turn], who: str) -> str:
    """Milliseconds of CPU a request."""
    return ms(statistics.median(turn.cpu[who] / max(1, len(turn.load.answers)) for turn in turns))
