"""Triton's names and tensors, written once: no server is needed here."""

from __future__ import annotations

import subprocess
import sys

from clipserve.clip.artifact import read_manifest
from clipserve.demo import FOLDER as DEMO

MANIFEST = read_manifest(DEMO)
TYPES = {"TYPE_UINT8": "tensor(uint8)", "TYPE_INT32": "tensor(int32)", "TYPE_FP32": "tensor(float)"}


def test_reading_the_contract_loads_no_library_of_triton() -> None:
    code = (
        "import sys, clipserve.engine.triton.contract;"
        "sys.exit(any(name.split('.')[0] in ('tritonclient', 'grpc', 'google') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
