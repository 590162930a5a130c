"""Compares a gateway that gathers rows of several requests into calls with one whose calls have one row each.

Both stand in front of one real Triton, whose models compute next to nothing (`arithmetic_model`): what is measured
is the way there, the gateway, gRPC and Triton's own queue, which merges calls in either case.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from clipserve_models.triton_options import options_of
from clipserve_models.triton_repository import write_repository
from loadtests.commands import DEMO, Artifact, Rounds, Seconds
from loadtests.fake_service import write_fake_artifact
from loadtests.process import FakeTriton, free_port, listening, running, started
from loadtests.turns import PATIENT, in_turns, turns_table

_MODEL = Path(__file__).with_name("arithmetic_model.py")
_ROOT = Path(__file__).parents[1]
_OPTIONS = options_of("python", max_batch_images=128, max_batch_texts=512)  # a GPU's sizes
_SCENARIOS = {"text-8": "short texts", "embed-320x240": "JPEGs of 320 x 240"}


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
    port, metrics_port = free_port(), free_port()
    ports = {"TRITON_GRPC_PORT": str(port), "TRITON_METRICS_PORT": str(metrics_port)}
    paths = os.pathsep.join(str(_ROOT / each) for each in (".", "service", "models"))
    environment = os.environ | ports | {"TRITON_PYTHON": sys.executable, "LOADTESTS": paths}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory() as temporary:
        repository = Path(temporary, "models")
        artifact = write_fake_artifact(source, Path(temporary, "artifact"))
        write_repository(artifact, repository, _OPTIONS)
        for model in repository.glob("*/1/model.py"):
            shutil.copyfile(_MODEL, model)
        command = [str(_ROOT / "deploy/triton/local.sh"), "serve", str(repository)]
        # The port of metrics opens after the warm-up.
        with running(command, "Triton", lambda: listening(metrics_port), **quiet) as pid:
            yield FakeTriton(f"127.0.0.1:{port}", artifact, pid)
