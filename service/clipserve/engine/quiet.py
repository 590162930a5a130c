"""Keeps onnxruntime and OpenVINO from reporting to their makers.

onnxruntime's packages since 1.29 send events about models, errors and the machine to their maker, and write an
identifier of the device into ~/.cache; only a variable of the environment at the first import turns both off.
OpenVINO's import sends an event to Google Analytics and writes an identifier into ~/intel; where its package for
that cannot be imported it has a stand-in that sends nothing.
"""

from __future__ import annotations

import os
import sys


def report_to_nobody() -> None:
    """Call it before the first import of either. It holds for the whole process."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # an import of it fails
