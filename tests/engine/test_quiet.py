"""Imports that report to nobody."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from clipserve.engine.quiet import quietly


def test_several_threads_import_and_leave_environment_and_modules_as_they_were() -> None:
    before, entered = (dict(os.environ), sys.modules.get("openvino_telemetry")), Event()

    def import_too() -> None:
        with quietly():
            entered.set()

    with ThreadPoolExecutor(1) as threads:
        with quietly():
            other = threads.submit(import_too)
            entered.wait(0.2)  # the other one has to wait, so this ends by its time
        other.result()
    assert (dict(os.environ), sys.modules.get("openvino_telemetry")) == before
