"""The contestants of `loadtests compare`: environments, commands, requests, and the vector in an answer."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from loadtests import bodies
from loadtests.bodies import Call
from loadtests.report import tell

_PEERS = Path(__file__).with_name("peers")


@dataclass(frozen=True)
class Contestant:
    """A server. `{port}` in its command and environment stands for the port it is given.

    `vector`: reads the answer to `embed`. `least_cosine`: with clipserve's vector of the same photo; below it, the
    contestant computes something else and cannot be compared. `classify`: None if it does not classify.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    vector: Callable[[Any], list[float]]
    least_cosine: float = 0.9999
    embed: Callable[[bytes], Call] = bodies.embed
    classify: Callable[[bytes, list[str]], Call] | None = bodies.classify


def clipserve(artifact: str, least_cosine: float = 0.9999, **settings: str) -> Contestant:
    """This checkout in this environment, with default settings, except a queue that refuses nobody."""
    own = {"models": artifact, "port": "{port}", "max_queue_seconds": "60", "grpc_enabled": "false"}
    own |= {"operations_port": "0", **settings}
    environment = {f"CLIPSERVE_{name.upper()}": value for name, value in own.items()}
    command = (sys.executable, "-m", "clipserve")
    return Contestant(
        command, environment, lambda answer: list(answer["results"][0]["embedding"]), least_cosine
    )


def variant(told: str) -> tuple[str, Contestant]:
    """NAME=ARTIFACT[,SETTING=VALUE ...], served by clipserve too."""
    name, _, rest = told.partition("=")
    folder, *settings = rest.split(",")
    if not folder or not all("=" in setting for setting in settings):
        raise typer.BadParameter(f"{told!r} is not NAME=ARTIFACT[,SETTING=VALUE ...]")
    return name, clipserve(folder, -1.0, **dict(setting.split("=", 1) for setting in settings))


def plain(programs: Path, artifact: Path, _: str) -> Contestant:
    """A simple server of FastAPI and onnxruntime, with clipserve's request bodies."""
    command = (str(programs / "uvicorn"), "--app-dir", str(_PEERS), "plain_app:app", "--port", "{port}")
    environment = {"ARTIFACT": str(artifact.absolute())}
    return Contestant((*command, "--no-access-log"), environment, lambda answer: list(answer["embedding"]))


def infinity(programs: Path, _: Path, weights: str) -> Contestant:
    """infinity on torch, which has no zero-shot classification of images."""
    if not weights:
        raise typer.BadParameter("infinity reads no artifact: --weights has those that it was exported from")
    base64 = functools.cache(bodies.json_image)

    def embed(image: bytes) -> Call:
        asked = {"model": "clip", "modality": "image", "input": ["data:image/jpeg;base64," + base64(image)]}
        return Call("/embeddings", json.dumps(asked).encode(), "application/json")

    return Contestant(
        command=(
            *(str(programs / "infinity_emb"), "v2", "--model-id", weights, "--served-model-name", "clip"),
            *("--engine", "torch", "--device", "cpu", "--dtype", "float32", "--batch-size", "8"),
            *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
        ),
        environment={"INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"},
        embed=embed,
        classify=None,
        vector=lambda answer: list(answer["data"][0]["embedding"]),
        least_cosine=0.999,
    )


PEERS = {"plain": plain, "infinity": infinity}


def installed(name: str, environments: Path) -> Path:
    """The folder of the programs of a peer, in an environment of its own; made if NAME.txt has changed."""
    folder, wanted = environments.absolute() / name, (_PEERS / f"{name}.txt").read_text("utf-8")
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        tell(f"installing {name}")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip: list[str | Path] = [folder / "bin/python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--requirement", _PEERS / f"{name}.txt"], check=True)
        stamp.write_text(wanted, "utf-8")
    return folder / "bin"
