"""`clipserve models` in this process, as its `main` runs it: an interpreter takes most of a second to start."""

from __future__ import annotations

import io
import subprocess
from contextlib import redirect_stderr, redirect_stdout

import pytest

from clipserve_models.__main__ import main


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What a process would have given: its exit status and what it prints."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as end:
        main(arguments)
    status = end.value.code
    assert isinstance(status, int)
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())
