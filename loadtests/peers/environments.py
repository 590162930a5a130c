"""Prepares a peer: its virtual environment, and its copy of the weights."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
_INSTALL_SECONDS = 1800.0
_CONVERT_SECONDS = 300.0


class CannotPrepare(Exception):
    """The peer cannot be installed, or cannot use the weights; the message says why."""


def install(name: str, environments: Path) -> Path:
    """Make the virtual environment of a peer if it is missing; return the folder of its programs.

    Raises:
        CannotPrepare: pip could not install it.
    """
    folder = environments / name
    _run([str(HERE / "setup.sh"), name, str(folder)], _INSTALL_SECONDS)
    return folder.absolute() / "bin"


def converted(name: str, programs: Path, artifact: Path, environments: Path) -> Path:
    """The artifact in the peer's format, made once by its NAME_folder.py.

    Raises:
        CannotPrepare: the peer does not support such a model.
    """
    files = json.loads((artifact / "model.json").read_text("utf-8"))["files"]  # the graphs' checksums
    script = HERE / f"{name.replace('-', '_')}_folder.py"
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
