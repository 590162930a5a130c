"""clipserve: CLIP image and text encoders behind one small HTTP and gRPC service."""

import os

__version__ = "0.1.0"

# NumPy's BLAS is asked for small products only: the scores of some labels. A second thread makes them no
# faster, and waits for more in a busy loop of 50 ms, in which an encoder lacks a core. Read when NumPy is first
# imported, which comes after this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
