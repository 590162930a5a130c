"""Runs the commands that the page offers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def run(arguments: list[str], folder: Path) -> str:
    environment = os.environ | {"CLIPSERVE_KEY": "unused"}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
