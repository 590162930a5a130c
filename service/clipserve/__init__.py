"""clipserve: CLIP image and text encoders behind one small HTTP and gRPC service."""

from __future__ import annotations

import importlib
import os

__version__ = "0.1.0"

# NumPy's BLAS is asked for small products only: the scores of some labels. A second thread makes them no
# faster, and waits for more in a busy loop of 50 ms, in which an encoder lacks a core. Read when NumPy is first
# imported, which comes after this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__all__ = ["AsyncClient", "Client", "Clip", "ClipserveError", "__version__"]
_HOMES = {"AsyncClient": "remote", "Client": "client", "Clip": "clip", "ClipserveError": "errors"}


def __getattr__(name: str) -> object:
    """The Python API, when it is asked for: every command imports this package, and few need an HTTP client.

    `__init__.pyi` says the same to mypy and to editors.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"clipserve.client.{_HOMES[name]}"), name)
