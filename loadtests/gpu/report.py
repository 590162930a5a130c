"""What a check found, as a file of JSON and as tables for people."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from loadtests.report import ms, table


def write(found: dict[str, Any], path: Path) -> None:
    """The whole of it. NaN, which JSON does not have, becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_plain(found), indent=1) + "\n", "utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.6g}") if abs(value) > 2 else round(value, 8)
    return value


def good(variant: dict[str, Any]) -> bool:
    """Whether it was measured to the end, and its cosines keep their bound."""
    return "error" not in variant and bool(variant["cosines"]["kept"])


def markdown(found: dict[str, Any]) -> str:
    """For the README."""
    gpu = found["gpu"]
    where = f"{gpu['name']}, driver {gpu['driver_version']}" if gpu else "the CPU"
    images = ", ".join(found["images"].values())
    measured = {name: each for name, each in found["variants"].items() if "error" not in each}
    failed = ", ".join(name for name in found["variants"] if name not in measured)
    parts = [
        f"Measured on {where}{f', {images}' if images else ''}: {found['command']}",
        f"Failed: {failed}." if failed else "",
        _cosines(measured),
        _rates(measured),
        _analyzed(measured),
        _gateways(measured),
    ]
    return "\n\n".join(part for part in parts if part)


def _cosines(variants: dict[str, Any]) -> str:
    rows = []
    for name, each in variants.items():
        for tower, cosines in each["cosines"]["towers"].items():
            rows.append([
                name, tower, f"{cosines['manifest']:.6f}",
                _lowest(cosines["rows"]), _lowest(cosines["lengths"]), f"{cosines['alone']:.6f}",
                f"{each['cosines']['bound']}", "yes" if each["cosines"]["kept"] else "NO",
            ])  # fmt: skip
    head = (
        "variant", "tower", "lowest cosine to the export", "to the CPU in fp32, by rows", "by length",
        "alone to in a batch", "bound", "kept",
    )  # fmt: skip
    return table(head, rows)


def _lowest(cosines: dict[str, float]) -> str:
    return " ".join(f"{key}: {value:.6f}" for key, value in cosines.items()) or "-"


def _rates(variants: dict[str, Any]) -> str:
    rows = []
    for name, each in variants.items():
        for tower, runs in each["rates"].items():
            for run in runs:
                asked = run["asked_rows"]
                rows.append([
                    name, tower, "all that it takes" if asked is None else f"{asked:,.0f}",
                    f"{run['rows']:,.0f}", ms(run["p50"]), ms(run["p99"]), f"{run['rows_an_execution']:.1f}",
                    f"{run['compute_ms']:.3g}", f"{run['computed_rows']:,.0f}", _busy(run["gpu"]),
                    f"{run['generator']:.0%}",
                ])  # fmt: skip
    head = (
        "variant", "tower", "rows/s sent", "rows/s answered", "p50 ms", "p99 ms", "rows an execution",
        "ms of computing an execution", "rows/s of computing, one instance", "GPU busy", "generator's CPU",
    )  # fmt: skip
    return table(head, rows)


def _analyzed(variants: dict[str, Any]) -> str:
    """What perf_analyzer found, where it was there and ran."""
    rows = [
        [name, kind, f"{run['calls_in_flight']:.0f}", f"{run['rows']:,.0f}", ms(run["p50"]), ms(run["p99"])]
        for name, each in variants.items()
        for kind, runs in each["perf_analyzer"].items()
        if kind != "error"
        for run in runs
    ]
    head = ("variant", "perf_analyzer sends", "calls in flight", "rows/s", "p50 ms", "p99 ms")
    return table(head, rows) if rows else ""


def _gateways(variants: dict[str, Any]) -> str:
    rows = [
        [
            name, str(run["gateways"]), str(run["clients"]), f"{run['images']:,.0f}", ms(run["p50"]),
            ms(run["p99"]), f"{run['rows_an_execution']:.1f}", f"{run['gateway_cpu_ms']:.2f}", _busy(run["gpu"]),
            str(run["failed"]), f"{run['generator']:.0%}",
        ]
        for name, each in variants.items()
        for run in each["gateways"]
    ]  # fmt: skip
    head = (
        "variant", "gateways", "clients", "JPEG/s", "p50 ms", "p99 ms", "rows an execution",
        "CPU ms of the gateways an image", "GPU busy", "not answered", "generator's CPU",
    )  # fmt: skip
    return table(head, rows) if rows else ""


def _busy(gpu: dict[str, float] | None) -> str:
    return f"{gpu['busy']:.0f} %" if gpu else "-"
