"""PyTorch's modules are compiled by one process: each that did so at a time would take ten seconds of CPU."""

import fcntl
import os
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    with (Path(sys.prefix) / "compiling.lock").open("w") as _lock:
        fcntl.flock(_lock, fcntl.LOCK_EX)
        import open_clip  # noqa: F401
