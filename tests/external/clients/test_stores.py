"""Stores of vectors with their real libraries, which are in an environment of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.external.clients.environments import installed
from tests.process import ROOT

PACKAGES = ROOT / "tests/docs/recipes/fingerprint.txt"


def test_stores_keep_the_fingerprint_and_refuse_another() -> None:
    tests = ROOT / "tests/external/clients/within_stores.py"
    # Warnings are the libraries' own.
    command: list[str | Path] = [installed(PACKAGES), "-m", "pytest", "-W", "default", tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
