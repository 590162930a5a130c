"""Checks of settings, the file of keys and packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import stat
from collections.abc import Iterator
from pathlib import Path

from clipserve import __version__
from clipserve.access.hosts import is_loopback
from clipserve.access.key_file import KeyFileError, read_keys
from clipserve.clip import resampling
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.settings import Settings
from clipserve.telemetry.versions import vector_libraries

_SHOWN = ("grpcio", "numpy", "onnxruntime-gpu", "tritonclient")  # besides `vector_libraries`


def settings(context: Context) -> Iterator[Finding]:
    """Check whether every CLIPSERVE_* variable is known and valid."""
    for fault in context.faults:
        yield problem(
            fault, "correct it: the service does not start. The checks below use the default instead"
        )
    if not context.faults:
        changed = len(context.settings.model_fields_set)
        yield ok(f"{changed} set, {len(Settings.model_fields) - changed} left at their defaults")


def packages(_: Context) -> Iterator[Finding]:
    """Report Python and the packages of its environment."""
    versions = installed()
    shown = vector_libraries() | {name: versions.get(name, "") for name in _SHOWN}
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(shown.items()) if version)
    yield ok(
        f"clipserve {__version__}, Python {platform.python_version()}, {platform.platform()}; {libraries}"
    )
    if resampling.RESIZED_BY == "Pillow":
        yield warning(
            "images are resized by Pillow: clipserve's own code, several times as fast, was not built, or gives "
            "other pixels than this Pillow",
            "install gcc and Python's headers, then clipserve again, with the Pillow of requirements/service.txt",
        )
    else:
        yield ok(f"images are resized by {resampling.RESIZED_BY}")
    if {"onnxruntime", "onnxruntime-gpu"} <= versions.keys():
        yield problem(
            "onnxruntime and onnxruntime-gpu are both installed: they overwrite each other's files",
            "pip uninstall clipserve clipserve-gpu onnxruntime onnxruntime-gpu, then pip install clipserve, or "
            "with an NVIDIA GPU clipserve-gpu",
        )


def installed() -> dict[str, str]:
    """The packages of this Python's environment: name -> version."""
    found = importlib.metadata.distributions()
    return dict(sorted((package.name.lower().replace("_", "-"), package.version) for package in found))


def keys(context: Context) -> Iterator[Finding]:
    """Check that the file of keys is valid, and that no other user can change it. Shows only the number of keys."""
    path, host = context.settings.keys_file, context.settings.host
    if path is None and is_loopback(host):
        yield ok(f"no keys: anybody on this machine may ask ({host})")
    elif path is None:
        yield warning(
            f"no keys, and it listens on {host}: whoever reaches this address may use it",
            "set CLIPSERVE_KEYS_FILE (`clipserve keys add NAME`), or put an authenticating proxy in front",
        )
    else:
        try:
            known = read_keys(path)
        except KeyFileError as error:
            yield problem(str(error), _keys_remedy(path))
            return
        yield ok(f"{path}: {len(known)} keys")
        if not known:
            yield warning(
                f"{path} has no key: every request is refused", "`clipserve keys add NAME` adds one"
            )
        if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield warning(
                f"{path} can be written by other users than its owner, who could add a key of their own",
                f"chmod go-w {path}",
            )


def _keys_remedy(path: Path) -> str:
    if os.path.isfile(path) and os.access(path, os.R_OK):
        return "correct that line, or make a new file: `clipserve keys add NAME`"
    return (
        f"let CLIPSERVE_KEYS_FILE name a file that user {os.geteuid()}, who runs this, can read; `clipserve keys "
        "add NAME` makes one"
    )
