"""What gathering rows before Triton brings: two gateways in front of one real Triton, whose models answer at once.

The models are arithmetic in Triton's Python backend (`arithmetic_model`), so what is measured is the way there: the
gateway, gRPC and Triton's own queue. The gateways take turns. Triton's counters tell the rows of an execution.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from loadtests import closed_loop, wrk
from loadtests.fake_service import write_fake_artifact
from loadtests.observe import cpu_seconds_of_all
from loadtests.process import Server, free_port, serve_repository, started_in
from loadtests.prometheus import parse
from loadtests.report import table
from loadtests.scenarios import SCENARIOS

_MODEL = Path(__file__).with_name("arithmetic_model.py")
_GPU_LENGTHS = "16,32,77"  # that gateways pad texts to, as the repository of a GPU states them
_LENGTHS = re.compile(r'(key: "text_lengths"\s+value \{\s*string_value: )"[0-9,]+"')


@dataclass(frozen=True)
class Turn:
    """Rows a second; rows of one execution in Triton, on average; CPU seconds of the gateway a row."""

    rate: float
    rows: float
    cpu: float


def gathering(
    other: Annotated[Path | None, typer.Option(help="Another checkout, whose gateway takes turns.")] = None,
    artifact: Annotated[Path, typer.Option(help="Served as one of arithmetic.")] = Path(
        "service/clipserve/demo"
    ),
    clients: int = 64,
    seconds: Annotated[float, typer.Option(help="Of each turn.")] = 4.0,
    rounds: Annotated[int, typer.Option(help="Print the medians of so many.")] = 5,
) -> None:
    """Rows a second through one gateway in front of a real Triton with models that answer at once (needs wrk)."""
    if not wrk.available():
        raise typer.BadParameter("wrk is not installed (Debian: apt-get install wrk)")
    folders = {"here": Path.cwd(), **({"there": other} if other else {})}
    rows = []
    with arithmetic_triton(artifact) as (triton, metrics_url, served), ExitStack() as stack:
        own = {"models": str(served), "backend": "triton", "triton_url": triton, "max_queue_seconds": "60"}
        servers = {
            name: stack.enter_context(started_in(folder, "clipserve", **own))
            for name, folder in folders.items()
        }
        for what, load in _loads(clients, seconds).items():
            turns = _turns(load, servers, metrics_url, rounds)
            for name, own_turns in turns.items():
                ratios = [
                    mine.rate / theirs.rate for mine, theirs in zip(own_turns, turns["here"], strict=True)
                ]
                rows.append([
                    what, name, f"{statistics.median(turn.rate for turn in own_turns):,.0f}",
                    f"{statistics.median(ratios):.2f}",
                    f"{statistics.median(turn.rows for turn in own_turns):.1f}",
                    f"{1000 * statistics.median(turn.cpu for turn in own_turns):.2f}",
                ])  # fmt: skip
    head = ("", "gateway", "rows/s", "times here", "rows an execution", "CPU ms of the gateway a row")
    typer.echo(table(head, rows))


def _loads(clients: int, seconds: float) -> dict[str, Callable[[Server, int], tuple[float, int]]]:
    """Each a turn of load: a server and its number -> rows a second, rows."""

    def texts(words: int) -> Callable[[Server, int], tuple[float, int]]:
        def turn(server: Server, _: int) -> tuple[float, int]:
            found = wrk.texts(server.url, clients, seconds, words)
            return found.rate, found.requests

        return turn

    def images(server: Server, number: int) -> tuple[float, int]:
        calls = SCENARIOS["embed-320x240"].calls()
        load = closed_loop.run(server.url, calls, clients, seconds, number * 1_000_000)
        return load.goodput(), len(load.good)

    return {
        f"short texts, {clients} clients": texts(0),
        f"texts of all lengths, {clients} clients": texts(60),
        f"JPEG of 320 x 240, {clients} clients": images,
    }


def _turns(
    load: Callable[[Server, int], tuple[float, int]],
    servers: dict[str, Server],
    metrics_url: str,
    rounds: int,
) -> dict[str, list[Turn]]:
    for server in servers.values():
        load(server, rounds)  # caches, pages, clocks
    turns: dict[str, list[Turn]] = {name: [] for name in servers}
    for number in range(rounds):
        order = list(servers.items())
        for name, server in order if number % 2 else reversed(order):
            before, cpu = _executions(metrics_url), cpu_seconds_of_all(server.pid or 0)
            rate, rows = load(server, number)
            inferences, executions = (
                after - first for after, first in zip(_executions(metrics_url), before, strict=True)
            )
            used = cpu_seconds_of_all(server.pid or 0) - cpu
            turns[name].append(Turn(rate, inferences / max(1, executions), used / max(1, rows)))
    return turns


def _executions(metrics_url: str) -> tuple[float, float]:
    """Rows that Triton has computed, and executions in which it has, of all models."""
    with urllib.request.urlopen(metrics_url, timeout=10) as answer:
        samples = parse(answer.read().decode())
    of = {name: sum(value for (own, _), value in samples.items() if own == name) for name, _ in samples}
    return of["nv_inference_count_total"], of["nv_inference_exec_count_total"]


@contextmanager
def arithmetic_triton(source: Path) -> Iterator[tuple[str, str, Path]]:
    """A real Triton with arithmetic: its gRPC host:port, the address of its metrics, the artifact for gateways."""
    with tempfile.TemporaryDirectory() as temporary:
        artifact = write_fake_artifact(source, Path(temporary, "artifact"))
        repository = Path(temporary, "repository")
        writer = [sys.executable, "-m", "clipserve_models", "triton", str(artifact), "--backend", "python"]
        sizes = ["--max-batch-images", "64", "--max-batch-texts", "256"]  # those of a GPU
        subprocess.run([*writer, *sizes, "--out", str(repository)], check=True, stdout=subprocess.DEVNULL)
        for model in repository.glob("*/1/model.py"):
            shutil.copyfile(_MODEL, model)
        config = next(repository.glob("*_text/config.pbtxt"))
        config.write_text(
            _LENGTHS.sub(rf'\g<1>"{_GPU_LENGTHS}"', config.read_text("utf-8"), count=1), "utf-8"
        )
        metrics = free_port()
        with serve_repository(repository, metrics, CHECKOUT=os.getcwd()) as address:
            yield address, f"http://127.0.0.1:{metrics}/metrics", artifact
