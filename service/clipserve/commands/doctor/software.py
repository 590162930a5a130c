"""Checks of settings, variables and packages."""

from __future__ import annotations

import difflib
import importlib.metadata
import platform
import sys
from collections.abc import Iterator

from clipserve import __version__
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.settings import Settings, in_place_of, unknown_variables

_NEEDED = ("fastapi", "grpcio", "numpy", "pillow", "pydantic", "tokenizers", "uvicorn", "uvloop")
_SHOWN = (*_NEEDED, "onnxruntime", "onnxruntime-gpu", "openvino", "tritonclient", "redis")
_OLDEST_PYTHON = (3, 11)


def settings(context: Context) -> Iterator[Finding]:
    """Whether every variable can be used."""
    for fault in context.faults:
        yield problem(
            fault, "mend it: the service does not start. The checks below take the default in its place"
        )
    if not context.faults:
        changed = len(context.settings.model_fields_set)
        yield ok(f"{changed} set, {len(Settings.model_fields) - changed} left at their defaults")


def variables(context: Context) -> Iterator[Finding]:
    """CLIPSERVE_* variables that are no setting. Their values are not shown: they may be secrets."""
    known = [f"CLIPSERVE_{name.upper()}" for name in Settings.model_fields]
    unknown = unknown_variables(context.environment)
    for name in unknown:
        near = difflib.get_close_matches(name, known, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        yield warning(f"{name} is no setting, and is ignored", meant + in_place_of(name))
    if not unknown:
        yield ok("no CLIPSERVE_* variable is unknown")


def packages(_: Context) -> Iterator[Finding]:
    """Python and what is installed in its environment."""
    versions = installed()
    shown = ", ".join(f"{name} {versions[name]}" for name in _SHOWN if name in versions)
    yield ok(f"clipserve {__version__}, Python {platform.python_version()}, {platform.platform()}; {shown}")
    if sys.version_info < _OLDEST_PYTHON:
        yield problem(
            f"Python {platform.python_version()} is older than 3.11",
            "make the environment anew with a newer one: make clean run PYTHON=python3.11",
        )
    runtimes = [name for name in ("onnxruntime", "onnxruntime-gpu") if name in versions]
    if len(runtimes) == 2:
        yield problem(
            "onnxruntime and onnxruntime-gpu are both installed: they overwrite each other's files",
            "uninstall both, then pip install 'clipserve[cpu]' or 'clipserve[gpu]'",
        )
    missing = [name for name in _NEEDED if name not in versions] + ["onnxruntime"] * (not runtimes)
    if missing:
        yield problem(
            f"not installed: {', '.join(missing)}",
            "pip install 'clipserve[cpu]', or with an NVIDIA GPU 'clipserve[gpu]'",
        )


def installed() -> dict[str, str]:
    """Each package in this Python's environment and its version, by name."""
    found = (
        (each.name.lower().replace("_", "-"), each.version) for each in importlib.metadata.distributions()
    )
    return dict(sorted(found))
