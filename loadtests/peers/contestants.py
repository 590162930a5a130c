"""The contestants: the command of each, its requests for a vector and for scores, and the place of the answer."""

from __future__ import annotations

import functools
import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests import bodies
from loadtests.bodies import Call
from loadtests.peers.environments import HERE, converted, install, versions

_ROOT = HERE.parent.parent
_PACKAGES = ("fastapi", "uvicorn", "onnxruntime", "pillow", "tokenizers")
# For the peer without templates; clipserve and the plain app have the artifact's.
_PROMPT = "a photo of a {}."


@dataclass(frozen=True)
class Contestant:
    """A server. `{port}` in its command and environment stands for the port it is given.

    `vector`: reads the answer to `embed`. `least_cosine`: with clipserve's vector of the same photo; below it, the
    contestant computes something else and cannot be compared. `classify`: None if it does not classify.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    embed: Callable[[bytes], Call]
    vector: Callable[[Any], list[float]]
    least_cosine: float
    versions: Mapping[str, str]
    classify: Callable[[bytes, list[str]], Call] | None = None

    @property
    def command_line(self) -> str:
        """As typed in a shell."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return shown(" ".join([*settings, shlex.join(self.command)]))


def shown(command_line: str) -> str:
    """The command to publish: paths in this checkout are relative, others keep only their end, no addresses."""
    relative = re.sub(r"https?://\S+", "(address)", command_line.replace(f"{_ROOT}/", ""))
    return re.sub(r"(?<![\w./])/(?:[^/\s]+/)+", "", relative)


def clipserve(
    artifact: Path, name: str = "clipserve", least_cosine: float = 0.9999, **settings: str
) -> Contestant:
    """This checkout in this environment, with default settings, except a queue that refuses nobody."""
    return Contestant(
        name=name,
        command=(sys.executable, "-m", "clipserve"),
        environment={
            "CLIPSERVE_MODELS": str(artifact),
            "CLIPSERVE_PORT": "{port}",
            "CLIPSERVE_MAX_QUEUE_SECONDS": "60",
            "CLIPSERVE_OPERATIONS_PORT": "0",
            "CLIPSERVE_GRPC_ENABLED": "false",
            **{f"CLIPSERVE_{setting.upper()}": value for setting, value in settings.items()},
        },
        embed=bodies.embed,
        classify=bodies.classify,
        vector=lambda answer: list(answer["results"][0]["embedding"]),
        least_cosine=least_cosine,
        versions=versions(Path(sys.executable).parent, _PACKAGES),
    )


def plain(artifact: Path, environments: Path) -> Contestant:
    """A simple server of FastAPI and onnxruntime, with clipserve's request bodies."""
    programs = install("plain", environments)
    return Contestant(
        name="plain app",
        command=(
            *(str(programs / "uvicorn"), "--app-dir", str(HERE), "plain_app:app"),
            *("--port", "{port}", "--no-access-log"),
        ),
        environment={"ARTIFACT": str(artifact.absolute())},
        embed=bodies.embed,
        classify=bodies.classify,
        vector=lambda answer: list(answer["embedding"]),
        least_cosine=0.9999,
        versions=versions(programs, _PACKAGES),
    )


def infinity(artifact: Path, environments: Path) -> Contestant:
    """infinity on torch, which has no zero-shot classification of images."""
    programs = install("infinity", environments)
    folder = converted("infinity", programs, artifact, environments)
    return Contestant(
        name="infinity",
        command=(
            *(str(programs / "infinity_emb"), "v2", "--model-id", str(folder), "--served-model-name", "clip"),
            *("--engine", "torch", "--device", "cpu", "--dtype", "float32", "--batch-size", "8"),
            *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
        ),
        environment={"INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"},
        embed=_infinity_embed,
        vector=lambda answer: list(answer["data"][0]["embedding"]),
        least_cosine=0.999,
        versions=versions(programs, ("infinity-emb", "torch", "transformers", "fastapi", "pillow")),
    )


def clip_as_service(artifact: Path, environments: Path) -> Contestant:
    """clip-as-service on onnxruntime over HTTP; /rank is its zero-shot classification."""
    programs = install("clip-as-service", environments)
    folder = converted("clip-as-service", programs, artifact, environments)
    return Contestant(
        name="clip-as-service",
        command=(str(programs / "python"), "-P", "-m", "clip_server", str(folder / "flow.yml")),
        environment={"PORT": "{port}", "NO_VERSION_CHECK": "1", "JINA_OPTOUT_TELEMETRY": "1"},
        embed=_clip_as_service_embed,
        classify=_clip_as_service_rank,
        vector=lambda answer: list(answer["data"][0]["embedding"]),
        least_cosine=0.999,
        versions=versions(programs, ("clip-server", "jina", "onnxruntime", "torch", "pillow")),
    )


PEERS: dict[str, Callable[[Path, Path], Contestant]] = {
    "plain": plain,
    "infinity": infinity,
    "clip-as-service": clip_as_service,
}


_base64 = functools.cache(bodies.json_image)


def _infinity_embed(image: bytes) -> Call:
    asked = {"model": "clip", "modality": "image", "input": ["data:image/jpeg;base64," + _base64(image)]}
    return Call("/embeddings", json.dumps(asked).encode(), "application/json")


def _clip_as_service_embed(image: bytes) -> Call:
    asked = {"data": [{"blob": _base64(image)}], "execEndpoint": "/"}
    return Call("/post", json.dumps(asked).encode(), "application/json")


def _clip_as_service_rank(image: bytes, labels: list[str]) -> Call:
    matches = json.dumps([{"text": _PROMPT.format(label)} for label in labels])
    # By hand: json.dumps would scan the image for every request.
    body = f'{{"data": [{{"blob": "{_base64(image)}", "matches": {matches}}}], "execEndpoint": "/rank"}}'
    return Call("/post", body.encode(), "application/json")
