"""Makes and checks artifacts, the folders of data that the service serves: see `clipserve models --help`."""

import os

__version__ = "0.1.0"

# Before onnxruntime is imported: it would report to its maker (clipserve.engine.quiet).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
