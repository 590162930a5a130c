"""The tables that the load tests print, in Markdown."""

from __future__ import annotations

import math
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from loadtests.load import percentile
from loadtests.measure import Result

_HEAD = (
    "scenario", "loop", "answers", "good/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "refused", "refused p99 ms",
    "failed", "server CPU ms", "client CPU ms", "RSS MB", "peak MB",
)  # fmt: skip
tell = partial(typer.echo, err=True)
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


def command() -> str:
    """As typed in a shell."""
    return shlex.join(["python", "-m", "loadtests", *sys.argv[1:]])


def results_table(results: Iterable[Result]) -> str:
    """One line a run."""
    return table(_HEAD, (_line(result) for result in results))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ms(seconds: float | None) -> str:
    """Three significant digits; a dash where there is nothing."""
    if seconds is None or math.isnan(seconds):
        return "-"
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(result: Result) -> list[str]:
    load, seen = result.load, result.observation
    return [
        result.scenario.name,
        result.loop,
        f"{len(load.answers):,}",
        f"{load.goodput():.1f}",
        *(ms(load.percentile(share)) for share in (0.5, 0.95, 0.99, 1.0)),
        str(len(load.refusals)),
        ms(percentile(load.refusals, 0.99)),
        str(load.failed),
        ms(result.server_cpu),
        ms(load.client_cpu),
        _megabytes(seen.rss),
        _megabytes(seen.peak),
    ]


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.0f}"
