"""clipserve: CLIP image and text encoders behind one small HTTP and gRPC service."""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "Clip", "ClipserveError", "__version__"]
_HOMES = {"AsyncClient": "remote", "Client": "remote", "Clip": "in_process", "ClipserveError": "errors"}


def __getattr__(name: str) -> object:
    """Import the Python API on first use: every command imports this package, and few need an HTTP client.

    `__init__.pyi` has the same for mypy and editors.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = importlib.import_module(f"clipserve.client.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if name == "Clip":
            error.add_note("For clipserve.Clip: pip install clipserve, or with an NVIDIA GPU clipserve-gpu.")
        raise
    return getattr(home, name)
