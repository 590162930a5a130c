"""What serves is not made heavier by the commands beside it."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.process import ROOT

# Loaded when a command runs that needs it.
HEAVY = ["httpx2", "sqlite3", "pyarrow", "rich.progress", "onnxruntime", "clipserve.wiring.use_cases"]


def test_the_commands_load_what_they_need_when_they_run() -> None:
    program = f"import clipserve.__main__, sys; print([name for name in {HEAVY} if name in sys.modules])"
    # Coverage, which would follow into the process, keeps its own data in SQLite.
    alone = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=alone, capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"
