"""The facts that a figure depends on besides the program: the machine and the versions."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_FLAGS = ("fma", "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_PACKAGES = "onnxruntime onnxruntime-gpu openvino numpy Pillow tokenizers fastapi uvicorn"


def machine_facts() -> dict[str, str]:
    """The facts of this machine, which sends the requests and runs our own servers."""
    facts = {
        "CPU": _cpu_line("model name") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "instructions": " ".join(sorted(set((_cpu_line("flags") or "").split()) & set(_FLAGS))) or "unknown",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }
    for name in _PACKAGES.split():
        with suppress(PackageNotFoundError):
            facts[name] = version(name)
    return facts


def _cpu_line(key: str) -> str | None:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
