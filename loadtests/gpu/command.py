"""`python -m loadtests gpu-check`: on a GPU host with Docker; with `--device cpu` on a real Triton on the CPU."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from tritonclient.utils import InferenceServerException

from loadtests.gpu import docker, faithful, jpeg, perf_analyzer, rates, report, servers
from loadtests.gpu.facts import gpu_facts, slug
from loadtests.gpu.inputs import Inputs
from loadtests.gpu.variants import Device, Variant, export, variants, write_repository
from loadtests.machine import machine_facts

RESULTS = Path("loadtests/results/gpu")


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        sizes: rows of the calls that are compared.
        rows: of a call under load, by tower.
        gateways: how many stand in front of Triton, one number after the other.
        shares: of the rate that Triton takes.
        seconds: of each run.
        clients: for each gateway.
        generators: processes that send.
    """

    sizes: tuple[int, ...]
    rows: dict[str, int]
    gateways: tuple[int, ...]
    shares: tuple[float, ...]
    seconds: float
    clients: int
    generators: int


PLANS: dict[Device, Plan] = {
    "gpu": Plan((1, 2, 3, 7, 64), {"image": 64, "text": 256}, (1, 2, 4, 8), rates.SHARES, 8.0, 64, 4),
    "cpu": Plan((1, 2, 3, 7), {"image": 4, "text": 16}, (1, 2), (0.5,), 2.0, 8, 1),
}


def gpu_check(
    device: Annotated[Device, typer.Option(help="cpu: the same on a real Triton on this CPU.")] = "gpu",
    model: Annotated[str, typer.Option(help="Of the catalog; made if it is not there.")] = "ViT-B-32",
    fp32: Annotated[Path | None, typer.Option(help="An artifact in fp32, in place of --model.")] = None,
    fp16: Annotated[Path | None, typer.Option(help="Its variant in fp16.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Given to `models variant`.")] = None,
    triton_image: Annotated[str, typer.Option(envvar="TRITON_IMAGE")] = "",
    tensorrt_image: Annotated[str, typer.Option(envvar="TENSORRT_IMAGE", help="Of the same month.")] = "",
    sdk_image: Annotated[
        str, typer.Option(envvar="SDK_IMAGE", help="Of Triton's SDK, for perf_analyzer.")
    ] = "",
    seconds: Annotated[float | None, typer.Option(help="Of each run.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A variant, such as trt-fp16; repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: loadtests/results/gpu/check-GPU.json.")] = None,
) -> None:
    """Cosines, rates and JPEG load through a real Triton, for each precision and backend; a file and tables."""
    images = _images(device, triton_image, tensorrt_image, sdk_image)
    if fp32 is None:
        fp32, fp16 = (Path("service/clipserve/demo"), None) if device == "cpu" else export(model, photos)
    plan = replace(PLANS[device], seconds=seconds or PLANS[device].seconds)
    found = _about(device, plan, images)
    path = out or RESULTS / f"check-{slug(found['gpu'].get('name', 'cpu'))}.json"
    for variant in variants(device, fp32, fp16):
        if not only or variant.name in only:
            found["variants"][variant.name] = _checked(variant, fp32, plan, images)
            report.write(found, path)  # what is measured is kept, also if the next one fails
    typer.echo(report.markdown(found))
    typer.echo(f"\n{path}", err=True)
    failed = [name for name, each in found["variants"].items() if not report.good(each)]
    if failed:
        raise SystemExit(f"{', '.join(failed)}: a cosine is below its bound, or it failed; see above.")


def _checked(variant: Variant, standard: Path, plan: Plan, images: docker.Images | None) -> dict[str, Any]:
    """`check`, or why it failed: the others are measured all the same."""
    try:
        return check(variant, standard, plan, images)
    except (servers.NotReady, subprocess.CalledProcessError, InferenceServerException, SystemExit) as error:
        typer.echo(f"  {variant.name}: {error}", err=True)
        return {"error": str(error)}


def check(variant: Variant, standard: Path, plan: Plan, images: docker.Images | None) -> dict[str, Any]:
    """One variant, on a Triton of its own."""
    inputs = Inputs.of(variant.artifact)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        _tell(variant, "repository")
        repository = write_repository(variant, work, images)
        with servers.serving(repository, images, work / "triton.log") as triton:
            return {
                "fingerprint": triton.models["image"].parameters["fingerprint"].string_value,
                "backend": variant.backend,
                "lengths": triton.lengths,
                **_measured(variant, triton, inputs, standard, plan),
                "perf_analyzer": _analyzed(variant, triton, inputs, work, plan, images),
            }


def _measured(
    variant: Variant, triton: servers.Triton, inputs: Inputs, standard: Path, plan: Plan
) -> dict[str, Any]:
    _tell(variant, "cosines")
    cosines = faithful.compare(triton, inputs, standard, plan.sizes)
    _tell(variant, "rates")
    swept = {
        tower: rates.sweep(triton, inputs, tower, rows, plan.seconds, plan.shares)
        for tower, rows in plan.rows.items()
    }
    through = []
    if variant.served:
        _tell(variant, "gateways")
        through = jpeg.through_gateways(
            triton, variant.artifact, plan.gateways, plan.seconds, plan.clients, plan.generators
        )
    # TF32 has as many bits of a number as fp16, and is held to the same bound.
    precision = "fp16" if variant.tf32 else inputs.manifest.precision
    return {"cosines": faithful.report(cosines, precision), "rates": swept, "gateways": through}


def _analyzed(
    variant: Variant,
    triton: servers.Triton,
    inputs: Inputs,
    work: Path,
    plan: Plan,
    images: docker.Images | None,
) -> dict[str, Any]:
    if not (images and images.sdk):
        return {}
    _tell(variant, "perf_analyzer")
    try:
        return perf_analyzer.analyze(images.sdk, triton, inputs, work, plan.seconds)
    except (subprocess.CalledProcessError, KeyError, OSError) as error:  # what is measured else is kept
        return {"error": f"{type(error).__name__}: {error}"}


def _about(device: Device, plan: Plan, images: docker.Images | None) -> dict[str, Any]:
    """What the figures depend on; `variants` is to be filled."""
    return {
        "command": f"`python -m loadtests gpu-check{' --device cpu' if device == 'cpu' else ''}`",
        "gpu": gpu_facts() if device == "gpu" else {},
        "machine": machine_facts(),
        "images": {key: docker.digest(name) for key, name in images.names().items()} if images else {},
        "plan": vars(plan),
        "variants": {},
    }


def _images(device: Device, triton: str, tensorrt: str, sdk: str) -> docker.Images | None:
    if device == "cpu":
        return None
    if not (triton and tensorrt):
        raise typer.BadParameter(
            "TRITON_IMAGE and TENSORRT_IMAGE name NVIDIA's images, both of one month, as its catalog gives them; "
            "--device cpu needs none."
        )
    if not gpu_facts():
        raise typer.BadParameter("nvidia-smi finds no GPU here; --device cpu runs the same on the CPU.")
    return docker.Images(triton, tensorrt, sdk or None)


def _tell(variant: Variant, what: str) -> None:
    typer.echo(f"  {variant.name}: {what} ...", err=True)
