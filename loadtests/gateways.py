"""Compares gateways in turns: two behind the edge with one, and one that gathers rows with one that does not.

`gathering` has a real Triton behind them, whose models compute next to nothing (`arithmetic_model`). So it measures
the way there: the gateway, gRPC, and Triton's own queue, which merges calls in either case.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from loadtests.commands import DEMO, Artifact, Rounds, Seconds
from loadtests.edge import Replica, edge
from loadtests.fake_service import write_fake_artifact
from loadtests.process import PATIENT, FakeTriton, fake_triton, free_port, listening, running, started
from loadtests.turns import in_turns, turns_table

_ROOT = Path(__file__).parents[1]
_SCENARIOS = {"text-8": "short texts", "embed-320x240": "JPEGs of 320 x 240"}
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


def gathering(
    artifact: Artifact = DEMO, clients: int = 64, seconds: Seconds = 4.0, rounds: Rounds = 5
) -> None:
    """Requests a second through a gateway before a real Triton, gathering and not, of many clients and of one."""
    measured = {}
    with arithmetic_triton(artifact) as triton:
        own = {"models": str(triton.artifact), "backend": "triton", "triton_url": triton.url, **PATIENT}
        apart = {"max_batch_images": "1", "max_batch_texts": "1"}
        with started("clipserve", **own, **apart) as one, started("clipserve", **own) as several:
            urls = {"one for each request": one.url, "rows of several": several.url}
            for name, about in _SCENARIOS.items():
                for number in (clients, 1):
                    what = f"{about}, {number} client{'s' * (number > 1)}"
                    measured[what] = in_turns(urls, name, number, seconds, rounds)
    typer.echo(turns_table("calls", measured))


@contextmanager
def arithmetic_triton(source: Path) -> Iterator[FakeTriton]:
    """Run a real Triton with fake encoders, on this CPU (`deploy/triton/local.sh`)."""
    from clipserve_models.triton_options import options_of  # gpu-check runs where it may be missing
    from clipserve_models.triton_repository import write_repository

    port, metrics_port = free_port(), free_port()
    ports = {"TRITON_GRPC_PORT": str(port), "TRITON_METRICS_PORT": str(metrics_port)}
    paths = os.pathsep.join(str(_ROOT / each) for each in (".", "service", "models"))
    environment = os.environ | ports | {"TRITON_PYTHON": sys.executable, "LOADTESTS": paths}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory() as temporary:
        repository = Path(temporary, "models")
        artifact = write_fake_artifact(source, Path(temporary, "artifact"))
        sizes = options_of("python", max_batch_images=128, max_batch_texts=512)  # a GPU's
        write_repository(artifact, repository, sizes)
        for model in repository.glob("*/1/model.py"):
            shutil.copyfile(Path(__file__).with_name("arithmetic_model.py"), model)
        command = [str(_ROOT / "deploy/triton/local.sh"), "serve", str(repository)]
        # The port of metrics opens after the warm-up.
        with running(command, "Triton", lambda: listening(metrics_port), **quiet) as pid:
            yield FakeTriton(f"127.0.0.1:{port}", artifact, pid)
