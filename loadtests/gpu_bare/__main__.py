"""`python -m loadtests.gpu_bare`: prove or refute each line about encoders on a GPU.

Not a command of `python -m loadtests`, which imports the tools of tests: this needs no more than the service.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import onnxruntime as ort
import typer

from clipserve import __version__
from clipserve.clip.artifact import IMAGE_GRAPH, TEXT_GRAPH, read_manifest
from clipserve.clip.tokenizer import load_tokenizer
from clipserve.engine.cuda import PROVIDER, PROVIDER_OPTIONS, look, tried, why_not
from loadtests.gpu_bare import ceiling, serving
from loadtests.gpu_bare.agreement import compared, reference
from loadtests.gpu_bare.findings import Findings, Line
from loadtests.gpu_bare.inputs import Feeds, first, lengths_of, pixels, texts
from loadtests.gpu_bare.nodes import Tower, placed, profiled, tower_of
from loadtests.gpu_bare.sessions import Variant
from loadtests.gpu_bare.speed import bound_rates, rates
from loadtests.machine import machine_facts

SIZES = {"cuda": (1, 2, 3, 7, 64, 256), "cpu": (1, 2, 3, 7)}
CLIENTS = {"cuda": 64, "cpu": 2}
_RESULTS = Path(__file__).parents[1] / "results" / "gpu"


def main(
    artifact: Annotated[Path, typer.Argument(help="An artifact in fp32.")] = Path("service/clipserve/demo"),
    device: Annotated[
        str, typer.Option(help="`cuda`; `cpu` tries the program itself, on few rows.")
    ] = "cuda",
    fp16: Annotated[Path | None, typer.Option(help="Its fp16 variant. Default: FOLDER@fp16, if any.")] = None,
    seconds: Annotated[float, typer.Option(help="Of each measurement.")] = 0.5,
    clients: Annotated[int | None, typer.Option(help="Of the service. Default: 64, on a CPU 2.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for bare-GPU.json.")] = _RESULTS,
    most: Annotated[int, typer.Option(help="Most rows in a call.")] = 256,
    service: Annotated[bool, typer.Option(help="Start the service too.")] = True,
) -> None:
    """Check onnxruntime's CUDA provider, and the service on it, against the CPU; measure both beside PyTorch."""
    if device not in SIZES:
        raise typer.BadParameter(f"{device} is not cuda or cpu", param_hint="--device")
    findings, began = Findings(device), time.perf_counter()
    name = _machine(findings, artifact, device)
    if not findings.failed:
        sizes = [size for size in SIZES[device] if size <= most]
        variants = _variants(artifact, fp16, cuda=device == "cuda")
        with findings.trying("encoder", "all encoders"):
            _towers(findings, artifact, variants, sizes, seconds)
        if service:
            _services(findings, variants, 4 * seconds, clients or CLIENTS[device])
    findings.facts["seconds"] = f"{time.perf_counter() - began:.0f}"
    path = findings.write(out, name)
    print(f"\n{findings.as_markdown()}\n{path}: {len(findings.failed)} of {len(findings.lines)} lines failed")
    raise typer.Exit(1 if findings.failed else 0)


def _machine(findings: Findings, artifact: Path, device: str) -> str:
    """The facts, and whether CUDA works; the GPU's name."""
    facts = tried(look()) if device == "cuda" else look()
    reason, driver = why_not(facts), facts.driver
    newest = ".".join(map(str, driver.newest_cuda or ()))
    findings.facts |= {"GPU": str(driver), "the driver runs CUDA up to": newest or "unknown"}
    findings.facts |= {
        "nvidia-smi": serving.nvidia_smi(),
        "onnxruntime is built for CUDA": facts.built_for or "none",
    }
    findings.facts |= {"PyTorch": ceiling.torch_version() or "none", "clipserve": __version__}
    findings.facts |= machine_facts() | {"artifact": read_manifest(artifact).fingerprint()}
    if device == "cpu":
        return "cpu"
    found = "it runs" if reason is None else f"{reason.found}: {reason.do}"
    findings.add(Line("machine", "CUDA", found, "it runs", reason is None))
    return driver.gpus[0].name if driver.gpus else "no GPU"


def _variants(artifact: Path, fp16: Path | None, *, cuda: bool) -> list[Variant]:
    beside = fp16 or artifact.with_name(f"{artifact.name}@fp16")
    made = [Variant("fp32", artifact, cuda)]
    if cuda:
        made.append(Variant("tf32", artifact, cuda))
    return [*made, Variant("fp16", beside, cuda)] if fp16 or beside.is_dir() else made


def _towers(
    findings: Findings, artifact: Path, variants: list[Variant], sizes: list[int], seconds: float
) -> None:
    manifest = read_manifest(artifact)
    tokenizer, most = load_tokenizer(artifact, manifest.text), max(sizes)
    towers = {"image": (IMAGE_GRAPH, pixels(most, manifest.image.size))}
    for length in lengths_of(manifest.text):
        towers[f"text of {length} tokens"] = TEXT_GRAPH, texts(most, length, tokenizer)
    on_cpu = Variant("fp32", artifact, cuda=False)
    expected = {tower: reference(on_cpu.session(graph), feeds) for tower, (graph, feeds) in towers.items()}
    shape: Tower | None = None
    for variant in variants:
        findings.facts[variant.name] = read_manifest(variant.folder).fingerprint()
        for tower, (graph, feeds) in towers.items():
            with findings.trying(variant.name, tower):
                events = profiled(variant, graph, first(feeds, 2))
                if graph == IMAGE_GRAPH:
                    shape = shape or tower_of(events)
                session = variant.session(graph)
                findings.add(*_options(variant, tower, session), *placed(variant, tower, events))
                findings.add(*compared(variant.name, tower, session, feeds, expected[tower], sizes))
                every = graph == IMAGE_GRAPH or tower == next(name for name in towers if name != "image")
                for rows in sizes if every else sorted({1, most}):
                    _speed(findings, variant, tower, session, first(feeds, rows), seconds)
    _ceiling(findings, shape, sizes, seconds)


def _speed(
    findings: Findings, variant: Variant, tower: str, session: Any, feeds: Feeds, seconds: float
) -> None:
    measured = rates(session, feeds, seconds)
    rows = len(next(iter(feeds.values())))
    with findings.trying(variant.name, f"{tower}, {rows} rows with IOBinding"):
        measured |= bound_rates(session, feeds, seconds, cuda=variant.cuda)
    findings.add_speed(part="encoder", variant=variant.name, what=tower, rows=rows, **measured)


def _services(findings: Findings, variants: list[Variant], seconds: float, clients: int) -> None:
    findings.add(serving.refused(variants[0].folder))
    for variant in variants:
        if variant.name != "tf32":
            with findings.trying("service", variant.name):
                serving.measured(findings, variant.folder, variant.name, findings.device, seconds, clients)


def _options(variant: Variant, tower: str, session: Any) -> list[Line]:
    """What the provider says its options are, beside what it was told."""
    if not variant.cuda:
        return []
    has: dict[str, Any] = session.get_provider_options()[PROVIDER]
    asked = {**PROVIDER_OPTIONS, "use_tf32": "1"} if variant.name == "tf32" else PROVIDER_OPTIONS
    wrong = [f"{name}={has.get(name)}" for name, value in asked.items() if has.get(name) != value]
    told = ", ".join(f"{name}={value}" for name, value in asked.items())
    return [Line(variant.name, f"{tower}, options", ", ".join(wrong) or "as asked", told, not wrong)]


def _ceiling(findings: Findings, tower: Tower | None, sizes: list[int], seconds: float) -> None:
    if ceiling.torch_version() is None or tower is None:
        why = "PyTorch is not installed" if tower else "no transformer is recognized in the image graph"
        findings.add(Line("ceiling", "PyTorch's attention", f"not measured: {why}"))
        return
    precision = "fp16" if findings.device == "cuda" else "fp32"
    what = f"PyTorch, {tower.layers} layers of {tower.width}, {tower.tokens} tokens"
    try:
        rates_by_rows = ceiling.measured(tower, sizes, seconds, findings.device)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        findings.add(Line("ceiling", "PyTorch's attention", f"not measured: {error}"))
        return
    for rows, rate in rates_by_rows.items():
        findings.add_speed(
            part="ceiling", variant=precision, what=what, rows=rows, **{"without copies/s": rate}
        )


if __name__ == "__main__":
    ort.set_default_logger_severity(3)
    typer.run(main)
