"""PyTorch's modules are compiled by one process: each that did so at a time would take ten seconds of CPU."""

import fcntl
import os
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    with (Path(sys.prefix) / "compiling.lock").open("w") as _lock:
        fcntl.flock(_lock, fcntl.LOCK_EX)
        import open_clip  # noqa: F401

from tests.external.export.test_export import TINY, add_model, make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny transformer that open_clip knows as "tiny", as an artifact."""
    folder = tmp_path_factory.mktemp("tiny")
    add_model(folder, "tiny", TINY)
    make("tiny", folder / "artifact", say=lambda _: None)
    return folder / "artifact"
