"""A run of these tests sees nothing of another one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.external.image.engine import ROOT

ALONE = """
import os, socket
from tests.external.image.apart import own_mounts, own_network

own_mounts()
own_network()
print(os.listdir("/run/containers"), [name for _, name in socket.if_nameindex()])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's podman shares its state")
def test_neither_state_of_podman_nor_a_network_of_another_run_is_seen() -> None:
    Path("/run/containers").mkdir(exist_ok=True)
    left = Path(tempfile.mkdtemp(prefix="left-by-another-run-", dir="/run/containers"))
    try:
        done = subprocess.run(
            [sys.executable, "-c", ALONE], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[] ['lo']"
        assert left.exists(), "what others need was removed"
    finally:
        left.rmdir()
