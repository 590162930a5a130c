"""NVIDIA's own generator, perf_analyzer, from the image of its SDK: the same rows, without Python in between."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.gpu import docker
from loadtests.gpu.inputs import Inputs, Rows, bounds
from loadtests.gpu.servers import Triton

_CALLS = "1:16:5"  # 1, 6, 11 and 16 calls in flight
_ROWS = 256  # different ones


def analyze(
    image: str, triton: Triton, inputs: Inputs, work: Path, seconds: float
) -> dict[str, list[dict[str, float]]]:
    """Images, and texts of each length -> rows a second and latencies at several calls in flight."""
    found = {}
    cases: dict[str, tuple[str, int, Rows]] = {"image": ("image", 64, inputs.images(64))}
    for shorter, length in bounds(triton.lengths):
        cases[f"text {length}"] = ("text", 256, inputs.texts(_ROWS, length, shorter))
    for name, (tower, rows, data) in cases.items():
        model = triton.models[tower]
        (work / "data.json").write_text(json.dumps(as_json(data)), "utf-8")
        words = line(model.name, triton.url, min(rows, model.max_batch_size), seconds)
        folders, network = {work: "/data"}, ("--network=host",)
        subprocess.run(docker.run_line(image, *words, folders=folders, options=network), check=True)
        found[name] = parse((work / "out.csv").read_text("utf-8"))
    return found


def line(model: str, url: str, rows: int, seconds: float) -> list[str]:
    """The command, inside the image, where /data is the working folder."""
    return [
        "perf_analyzer",
        f"-m{model}",
        "-igrpc",
        f"-u{url}",
        f"-b{rows}",
        "--async",
        f"--concurrency-range={_CALLS}",
        "--input-data=/data/data.json",
        f"--measurement-interval={round(seconds * 1000)}",
        "-f/data/out.csv",
    ]


def as_json(rows: Rows) -> dict[str, Any]:
    """One entry for each row. Random token ids, which perf_analyzer would send, are of no vocabulary."""
    entries = []
    for index in range(len(next(iter(rows.values())))):
        entry = {}
        for name, array in rows.items():
            row = array[index]
            entry[name] = {"content": row.ravel().tolist(), "shape": list(row.shape) or [1]}
        entries.append(entry)
    return {"data": entries}


def parse(text: str) -> list[dict[str, float]]:
    """The lines of its CSV, by the calls in flight. Latencies, which it gives in microseconds, in seconds."""
    lines: Sequence[dict[str, str]] = list(csv.DictReader(io.StringIO(text)))
    return sorted(
        (
            {
                "calls_in_flight": float(each["Concurrency"]),
                "rows": float(each["Inferences/Second"]),
                "p50": float(each["p50 latency"]) / 1e6,
                "p99": float(each["p99 latency"]) / 1e6,
            }
            for each in lines
        ),
        key=lambda found: found["calls_in_flight"],
    )
