"""The service where it may do little: as a container or a kubelet starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.process import PATIENT, ROOT, Process
from tests.support import form, png

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="nice values of threads, mounts: Linux only"),
]

# Root may lower a nice value; take that away. Others cannot do it anyway.
UNPRIVILEGED = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice") if os.geteuid() == 0 else ()
READ_ONLY = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"',
)


def may_mount() -> bool:
    return subprocess.run([*READ_ONLY, str(ROOT), "true"], capture_output=True, check=False).returncode == 0


def serves(process: Process) -> None:
    process.wait_ready(300)  # at nice 10 a busy machine leaves it a tenth of a core
    answer = httpx.post(
        process.url + "/classify", files=form([png()], {"labels": ["cat", "dog"]}), timeout=300
    )
    assert answer.status_code == 200
    status, log = process.stop()
    assert status == 0
    assert "Traceback" not in log


def test_the_service_serves_at_nice_10_without_the_privilege_to_lower_it() -> None:
    serves(Process(*UNPRIVILEGED, "nice", "-n", "10", backend="onnx", **PATIENT))


def test_the_service_serves_from_a_read_only_working_tree() -> None:
    if not may_mount():
        pytest.skip("mounting needs a privilege that this process does not have")
    # Without coverage, which would write its data into the tree.
    uncovered = ("env", "--unset=COVERAGE_PROCESS_CONFIG", "--unset=COVERAGE_PROCESS_START")
    process = Process(*READ_ONLY, str(ROOT), *uncovered, backend="onnx", **PATIENT)
    process.wait_ready(300)
    tree = Path("/proc", str(process.popen.pid), "root", *ROOT.parts[1:])
    with pytest.raises(OSError, match="Read-only"):
        (tree / "written").touch()
    serves(process)
