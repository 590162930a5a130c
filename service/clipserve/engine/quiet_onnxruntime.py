"""onnxruntime, imported so that it reports to nobody.

Its packages since 1.29 send events about models, errors and the machine to their maker, and write an identifier of
the device into ~/.cache. Only a variable of the environment at the first import turns both off: a call of
`disable_telemetry_events` comes too late for the identifier. A program's environment stays as it was, and a value
that somebody has set is theirs.
"""

from __future__ import annotations

import os

_NAME = "ORT_DISABLE_TELEMETRY"

_before = os.environ.get(_NAME)
os.environ.setdefault(_NAME, "1")
try:
    import onnxruntime
finally:
    if _before is None:
        del os.environ[_NAME]

__all__ = ["onnxruntime"]
