"""The service where it may do little: as a container or a kubelet starts it."""

from __future__ import annotations

import os
import sys

import httpx
import pytest

from tests.support.process import PATIENT, Process
from tests.support.service import form, png

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="nice values: Linux only"),
]

# Root may lower a nice value; take that away. Others cannot do it anyway.
UNPRIVILEGED = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice") if os.geteuid() == 0 else ()


def test_the_service_serves_at_nice_10_without_the_privilege_to_lower_it() -> None:
    process = Process(*UNPRIVILEGED, "nice", "-n", "10", backend="onnx", **PATIENT)
    process.wait_ready(300)  # a busy machine leaves it a tenth of a core
    parts = form([png()], {"labels": ["cat", "dog"]})
    assert httpx.post(process.url + "/classify", files=parts, timeout=300).status_code == 200
    status, log = process.stop()
    assert (status, "Traceback" in log) == (0, False)
