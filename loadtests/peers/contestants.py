"""The contestants: the environment of each, its command, its requests, and the place of the vector in an answer."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests import bodies
from loadtests.bodies import Call

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_INSTALL_SECONDS = 1800.0
_CONVERT_SECONDS = 300.0
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
    vector: Callable[[Any], list[float]]
    versions: Mapping[str, str]
    least_cosine: float = 0.9999
    embed: Callable[[bytes], Call] = bodies.embed
    classify: Callable[[bytes, list[str]], Call] | None = bodies.classify

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
            *(str(programs / "uvicorn"), "--app-dir", str(_HERE), "plain_app:app"),
            *("--port", "{port}", "--no-access-log"),
        ),
        environment={"ARTIFACT": str(artifact.absolute())},
        vector=lambda answer: list(answer["embedding"]),
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
        classify=None,
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


class CannotPrepare(Exception):
    """The peer cannot be installed, or cannot use the weights; the message says why."""


def install(name: str, environments: Path) -> Path:
    """Make the virtual environment of a peer if it is missing; return the folder of its programs.

    Raises:
        CannotPrepare: pip could not install it.
    """
    folder = environments / name
    _run([str(_HERE / "setup.sh"), name, str(folder)], _INSTALL_SECONDS)
    return folder.absolute() / "bin"


def converted(name: str, programs: Path, artifact: Path, environments: Path) -> Path:
    """The artifact in the peer's format, made once by its NAME_folder.py.

    Raises:
        CannotPrepare: the peer does not support such a model.
    """
    files = json.loads((artifact / "model.json").read_text("utf-8"))["files"]  # the graphs' checksums
    script = _HERE / f"{name.replace('-', '_')}_folder.py"
    made_from = hashlib.sha256(json.dumps(files).encode() + script.read_bytes()).hexdigest()
    folder = (environments / "models" / f"{name}-{made_from[:12]}").absolute()
    if not (folder / "ready").exists():
        _run([str(programs / "python"), str(script), str(artifact), str(folder)], _CONVERT_SECONDS)
        (folder / "ready").touch()
    return folder


def versions(programs: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of these packages, with Python's own."""
    script = (
        "import sys, platform, json; from importlib.metadata import version;"
        "print(json.dumps({'Python': platform.python_version()} | {name: version(name) for name in sys.argv[1:]}))"
    )
    found: dict[str, str] = json.loads(
        subprocess.check_output([programs / "python", "-c", script, *packages], text=True)
    )
    return found


def _run(command: list[str], seconds: float) -> None:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise CannotPrepare(f"`{command[0]} {command[1]}` was not done in {seconds:g} s") from None
    if done.returncode:
        lines = [line.strip() for line in done.stdout.strip().splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines
        raise CannotPrepare(" | ".join(errors[-3:])[-600:])
