"""Load tests, which act as any client on the network."""

import os

# Before onnxruntime is imported: it would report to its maker.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
