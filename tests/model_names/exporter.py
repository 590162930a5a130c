"""A stand-in for `clipserve_models`: it exports by copying the demo model slowly, and counts its runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clipserve.demo import FOLDER as DEMO

_PROGRAM = """
import os, pathlib, shutil, sys, time
command, name, _, out = sys.argv[1:]
with open(__file__ + ".runs", "a") as runs:
    runs.write(f"{command} {name}\\n")
if name == "unknown":
    sys.exit("error: no model named 'unknown'. Similar names: known.")
pathlib.Path(__file__ + ".pid").write_text(str(os.getpid()))
folder = pathlib.Path(out)
if folder.exists():
    sys.exit(f"error: {folder} exists and is not an artifact.")
out = folder.with_name(f".{folder.name}.partial")
shutil.rmtree(out, ignore_errors=True)
out.mkdir()
for path in sorted(pathlib.Path(DEMO).glob("*.*n*")):
    print("copying", path.name)
    text = path.name == "model.json" and path.read_text().replace('"demo"', f'"{name}"', 1)
    (out / path.name).write_text(text) if text else shutil.copyfile(path, out / path.name)
    until = time.monotonic() + 600
    while (out / "image.onnx").exists() and WAITS and not os.path.exists(WAITS) and time.monotonic() < until:
        time.sleep(0.01)
out.rename(folder)
"""


class Exporter:
    """In front of the real one in this process's environment, and in those of processes started here."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, *, waits: bool = False) -> None:
        """`waits`: after its first file, until it is told to `go_on`."""
        package = folder / "clipserve_models"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        self._program = package / "__main__.py"
        self._go = folder / "go"
        awaited = str(self._go) if waits else ""
        self._program.write_text(f"DEMO, WAITS = {str(DEMO)!r}, {awaited!r}\n{_PROGRAM}")
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)

    def go_on(self) -> None:
        """All that wait do."""
        self._go.touch()

    @property
    def pid(self) -> int:
        """Of the last that ran."""
        return int(Path(f"{self._program}.pid").read_text())

    @property
    def runs(self) -> list[str]:
        """What it was asked for."""
        counted = Path(f"{self._program}.runs")
        return counted.read_text().splitlines() if counted.exists() else []


def left_in(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()}


def events(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines()]
