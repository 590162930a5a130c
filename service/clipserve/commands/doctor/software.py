"""Checks of settings, the file of keys and packages."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import stat
from collections.abc import Iterator

from clipserve import __version__
from clipserve.access.hosts import is_loopback
from clipserve.access.key_file import KeyFileError, read_keys
from clipserve.clip import resampling
from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Finding, ok, problem, warning
from clipserve.settings import Settings
from clipserve.settings.unknown import unknown_variables

_SHOWN = ("grpcio", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "pillow", "tritonclient")


def settings(context: Context) -> Iterator[Finding]:
    """Whether every CLIPSERVE_* variable can be used, and is one. Values are not shown: they may be secrets."""
    for fault in context.faults:
        yield problem(
            fault, "mend it: the service does not start. The checks below take the default in its place"
        )
    for name, hint in unknown_variables(os.environ).items():
        yield warning(f"{name} is no setting, and is ignored", hint)
    if not context.faults:
        changed = len(context.settings.model_fields_set)
        yield ok(f"{changed} set, {len(Settings.model_fields) - changed} left at their defaults")


def packages(_: Context) -> Iterator[Finding]:
    """Python and what is installed in its environment."""
    versions = installed()
    shown = ", ".join(f"{name} {versions[name]}" for name in _SHOWN if name in versions)
    yield ok(f"clipserve {__version__}, Python {platform.python_version()}, {platform.platform()}; {shown}")
    if resampling.RESIZED_BY == "Pillow" and platform.machine() == "x86_64":
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
            "uninstall both, then pip install 'clipserve[cpu]' or 'clipserve[gpu]'",
        )


def installed() -> dict[str, str]:
    """Each package in this Python's environment and its version, by name."""
    found = importlib.metadata.distributions()
    return dict(sorted((each.name.lower().replace("_", "-"), each.version) for each in found))


def keys(context: Context) -> Iterator[Finding]:
    """The file of keys: good, and changed by nobody else. Nothing of what is in it is told but the number."""
    path, host = context.settings.keys_file, context.settings.host
    if path is None and is_loopback(host):
        yield ok(f"no keys: anybody on this machine may ask ({host})")
    elif path is None:
        yield warning(
            f"no keys, and it listens on {host}: whoever reaches this address may use it",
            "set CLIPSERVE_KEYS_FILE (`clipserve keys add NAME`), or put in front what asks who calls",
        )
    else:
        try:
            known = read_keys(path)
        except KeyFileError as error:
            yield problem(str(error), "correct that line, or make a file anew: `clipserve keys add NAME`")
            return
        yield ok(f"{path}: {len(known)} keys")
        if not known:
            yield warning(
                f"{path} has no key: every request is refused", "`clipserve keys add NAME` adds one"
            )
        if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield warning(
                f"{path} can be written by others than its owner: whoever can write it can let himself in",
                f"chmod go-w {path}",
            )
