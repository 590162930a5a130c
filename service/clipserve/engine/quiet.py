"""Imports onnxruntime and OpenVINO so that they report to nobody.

onnxruntime's packages since 1.29 send events about models, errors and the machine to their maker, and write an
identifier of the device into ~/.cache; only a variable of the environment at the first import turns both off.
OpenVINO's import sends an event to Google Analytics and writes an identifier into ~/intel; where its package for
that cannot be imported it has a stand-in that sends nothing.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE, _MODULE = "ORT_DISABLE_TELEMETRY", "openvino_telemetry"
_one_at_a_time = threading.Lock()  # models are loaded in threads, and environment and modules are everybody's


@contextmanager
def quietly() -> Iterator[None]:
    """What is imported in this block reports to nobody. Environment and modules are then as before."""
    with _one_at_a_time:
        variable, module = os.environ.get(_VARIABLE), sys.modules.pop(_MODULE, None)
        os.environ.setdefault(_VARIABLE, "1")
        sys.modules[_MODULE] = None  # type: ignore[assignment]  # an import of it fails
        try:
            yield
        finally:
            if variable is None:
                del os.environ[_VARIABLE]
            del sys.modules[_MODULE]
            if module:
                sys.modules[_MODULE] = module
