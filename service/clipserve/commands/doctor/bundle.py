"""A file for bug reports: what was found, settings, versions and facts of the machine; no secret, image or key."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from clipserve.commands.doctor.context import Context
from clipserve.commands.doctor.findings import Report
from clipserve.commands.doctor.machine import Machine
from clipserve.commands.doctor.rendering import as_text
from clipserve.commands.doctor.secrets import HIDDEN, Secrets
from clipserve.commands.doctor.software import installed

SUFFIXES = (".zip", ".tar.gz", ".tgz")

_MOST_BYTES = 100_000  # of one fact
# Of /proc: none that tells other programs' arguments, environments or mounts.
_FACTS = (
    "cpuinfo",
    "loadavg",
    "meminfo",
    "uptime",
    "version",
    "self/cgroup",
    "self/limits",
    "self/status",
    "driver/nvidia/version",
)
_CGROUP_FACTS = (
    "cpu.max",
    "cpu.stat",
    "memory.current",
    "memory.events",
    "memory.max",
    "pids.max",
    "cpu/cpu.cfs_period_us",
    "cpu/cpu.cfs_quota_us",
    "cpu/cpu.stat",
    "memory/memory.limit_in_bytes",
)
# Variables besides CLIPSERVE_* that change how it computes, and hold nothing else.
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "MALLOC_ARENA_MAX",
    "NVIDIA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
)


def write(path: Path, report: Report, context: Context | None, secrets: Secrets) -> None:
    """The file at `path`, whose suffix is one of SUFFIXES, readable by its owner alone. An older one is replaced.

    Raises:
        OSError: it cannot be written.
    """
    files = {
        "doctor.json": _json(report.as_json()),
        "doctor.txt": as_text(report),
        "packages.json": _json(installed()),
    }
    if context is not None:
        files["settings.json"] = _json(_settings(context))
        files |= _facts(context.machine)
    files = {name: secrets.hide(text) for name, text in files.items()}
    content = _zip(files) if path.name.endswith(".zip") else _tar(files)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _settings(context: Context) -> dict[str, Any]:
    """The settings as they apply, and which of them are set."""
    environment = context.environment
    return {
        "settings": {
            name: _shown(name, getattr(context.settings, name))
            for name in type(context.settings).model_fields
        },
        "set": sorted(name for name in environment if name.startswith("CLIPSERVE_")),
        "environment": {name: environment[name] for name in _VARIABLES if name in environment},
    }


def _shown(name: str, value: Any) -> Any:
    """Without secrets: of the collector's address its scheme alone, for some have a token in their paths."""
    if isinstance(value, SecretStr):
        return HIDDEN
    if name == "otlp_endpoint" and value is not None:
        return f"{str(value).partition('://')[0]}://{HIDDEN}"
    if isinstance(value, BaseModel):
        return {each: _shown(each, getattr(value, each)) for each in sorted(value.model_fields_set)}
    if isinstance(value, Mapping):
        return {str(key): _shown(str(key), each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_shown(name, each) for each in value]
    return value if isinstance(value, bool | int | float | None) else str(value)


def _facts(machine: Machine) -> dict[str, str]:
    found = {f"proc/{name}": machine.proc / name for name in _FACTS}
    found |= {f"cgroup/{name}": machine.cgroup / name for name in _CGROUP_FACTS}
    facts = {}
    for name, path in found.items():
        try:
            with path.open("rb") as file:
                facts[name] = file.read(_MOST_BYTES).decode(errors="replace")
        except OSError:  # this kernel has none
            continue
    return facts


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def _zip(files: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def _tar(files: Mapping[str, str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in files.items():
            data = text.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), int(time.time())
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()
