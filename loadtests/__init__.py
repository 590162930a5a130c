"""Load tests, which act as any client on the network."""

import os
import sys

# Before onnxruntime and OpenVINO are imported: they would report to their makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
