"""OpenVINO, imported so that it reports to nobody.

Its import sends an event to Google Analytics and writes an identifier into ~/intel, without a question. Where its
package for that cannot be imported it has a stand-in that sends nothing.
"""

from __future__ import annotations

import sys

_NAME = "openvino_telemetry"

_before = sys.modules.pop(_NAME, None)
sys.modules[_NAME] = None  # type: ignore[assignment]  # an import of it fails
try:
    import openvino
finally:
    del sys.modules[_NAME]
    if _before:
        sys.modules[_NAME] = _before

__all__ = ["openvino"]
