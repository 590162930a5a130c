"""Ctrl-C while a command still loads its modules."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import ROOT


@pytest.mark.parametrize("loaded", ["typer", "clipserve.clip.artifact", "clipserve.commands.embed"])
def test_ctrl_c_while_modules_load_prints_no_traceback(tmp_path: Path, loaded: str) -> None:
    # It names each module on standard error once that is loaded. If it is faster than we are, it waits for input.
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "clipserve",
        "embed",
        "-",
        "--out",
        str(tmp_path / "a.npz"),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line.endswith(f" {loaded}\n"):
                break
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert "Traceback" not in errors
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
