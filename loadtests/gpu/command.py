"""The command `python -m loadtests gpu-check`: checks each claim about encoders on a GPU.

It needs only the service and no network, because machines with a GPU may lack the tools of the tests.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from clipserve import __version__
from clipserve.clip.artifact import read_manifest
from clipserve.clip.manifest import GPU_TEXT_BUCKETS
from clipserve.engine.cuda import why_not
from loadtests.gpu import encoders, service, triton
from loadtests.gpu.encoders import Variant
from loadtests.gpu.findings import Findings, Line
from loadtests.gpu.inputs import Case, cases
from loadtests.report import machine_facts

_RESULTS = Path(__file__).parents[1] / "results" / "gpu"
_SIZES = (1, 2, 3, 7, 64, 256)
_SMI = "name,driver_version,memory.total,memory.used,power.limit,clocks.max.sm"


def gpu_check(
    artifact: Annotated[Path, typer.Argument(help="An artifact in fp32.")] = Path("service/clipserve/demo"),
    fp16: Annotated[Path | None, typer.Option(help="Its fp16 variant. Default: FOLDER@fp16, if any.")] = None,
    device: Annotated[
        Literal["cuda", "cpu"], typer.Option(help="In process; cpu tries the check itself.")
    ] = "cuda",
    triton_url: Annotated[
        str, typer.Option("--triton", help="HOST:PORT of a Triton that serves one of these, in place of it.")
    ] = "",
    most: Annotated[int | None, typer.Option(help="Most rows in a call. Default: 256, on a CPU 7.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for check-GPU.json.")] = _RESULTS,
) -> None:
    """Check vectors against the CPU's, and in process the answers of a service too."""
    began, findings = time.perf_counter(), Findings(out / "check.json")
    on_gpu = device == "cuda" and not triton_url
    beside = fp16 or artifact.with_name(f"{artifact.name}@fp16")
    folders = {"fp32": artifact} | ({"fp16": beside} if fp16 or beside.is_dir() else {})
    variants = [Variant(precision, folder, on_gpu) for precision, folder in folders.items()]
    _machine(findings, variants, "triton" if triton_url else device)
    largest = most or (7 if device == "cpu" else 256)
    sizes = [size for size in _SIZES if size <= largest]
    if triton_url:
        with findings.trying("Triton", "it serves one of these"):
            served = triton.found(triton_url, variants)
            _behind_triton(findings, served, artifact, sizes)
    elif not findings.failed:
        _in_process(findings, variants, sizes)
    findings.facts["seconds"] = f"{time.perf_counter() - began:.0f}"
    findings.write()
    judged = sum(line.passed is not None for line in findings.lines)
    verdict = f"{len(findings.failed)} of {judged} refuted"
    typer.echo(f"\n{findings.as_markdown()}\n{findings.path}: {verdict}")
    raise typer.Exit(1 if findings.failed else 0)


def _in_process(findings: Findings, variants: Sequence[Variant], sizes: Sequence[int]) -> None:
    """The checks in the order of importance: vectors, then a service that answers."""
    asked = list[Case]()
    with findings.trying("the CPU", "vectors to compare with"):
        lengths = read_manifest(variants[0].folder).text.lengths_of(GPU_TEXT_BUCKETS)
        asked += cases(variants[0].folder, tuple(lengths), max(sizes))
    for case in asked:
        for variant in variants:
            with findings.trying(variant.precision, case.name):
                encoders.vectors(findings, variant, case, sizes)
    for variant in variants:
        with findings.trying("service", variant.precision):
            service.checked(findings, variant)


def _behind_triton(findings: Findings, served: triton.Served, artifact: Path, sizes: Sequence[int]) -> None:
    lengths = read_manifest(artifact).text.lengths_of(GPU_TEXT_BUCKETS)
    asked = list(cases(artifact, tuple(lengths), max(sizes)))
    for case in asked:
        with findings.trying(served.name, case.name):
            triton.vectors(findings, served, case, sizes)


def _machine(findings: Findings, variants: Sequence[Variant], where: str) -> None:
    """The facts of the machine, and in process whether CUDA works. The GPU's name is in the file's."""
    told = _nvidia_smi()
    findings.facts |= {
        "GPU": ", ".join(told) or "none",
        "clipserve": __version__,
        **machine_facts(),
        **{variant.precision: read_manifest(variant.folder).fingerprint() for variant in variants},
    }
    name = f"{told[0] if told else 'no GPU'} {where}".lower()
    findings.path = findings.path.with_name(f"check-{re.sub(r'[^a-z0-9]+', '-', name)}.json")
    if where == "cuda":
        reason = why_not()
        findings.add([Line("machine", "CUDA", reason or "it runs", "it runs", reason is None)])


def _nvidia_smi() -> list[str]:
    """What it tells of the first GPU; nothing without one."""
    command = ["nvidia-smi", f"--query-gpu={_SMI}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [each.strip() for each in done.stdout.split(",")]
