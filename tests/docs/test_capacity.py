"""The table of docs/capacity.md is calculated from what the page states, and GFLOPs from the models' dimensions."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "capacity.md").read_text()
USED = 0.7  # of the capacity, at most
PEAK = 989.0  # TFLOPS of an H100 SXM in fp16, dense
CORES = 16
# Of the peak, below and above this many GFLOP an image.
SMALL = 50.0
SHARES = {
    ("onnxruntime", True): (0.09, 0.18),
    ("onnxruntime", False): (0.12, 0.22),
    ("TensorRT", True): (0.15, 0.30),
    ("TensorRT", False): (0.30, 0.45),
}
# Patches, their values, width, layers, width of the MLP, and whether attention pools what the layers give.
DIMENSIONS = {
    "ViT-B/32": (49, 3072, 768, 12, 3072, False),
    "ViT-B/16": (196, 768, 768, 12, 3072, False),
    "ViT-L/14": (256, 588, 1024, 24, 4096, False),
    "SO400M/14 SigLIP": (256, 588, 1152, 27, 4304, True),
    "ViT-H/14": (256, 588, 1280, 32, 5120, False),
    "ViT-L/14@336": (576, 588, 1024, 24, 4096, False),
    "SO400M/14 SigLIP@384": (729, 588, 1152, 27, 4304, True),
}
GFLOPS = {
    name: float(number)
    for name, number in re.findall(r"^\| (\S.*?) \| ([\d.]+) \| [\d,]+ to", PAGE, re.MULTILINE)
}


def milliseconds() -> tuple[float, float]:
    """CPU ms of a photo of 640 x 480 behind Triton, by docs/performance.md: of the event loop, and together."""
    table = (DOCS / "performance.md").read_text().partition("\n## A request without its encoder\n")[2]
    (row,) = re.findall(r"^\| 640 x 480 \|.*\n\| \| behind Triton \| (.+) \|$", table, re.MULTILINE)
    cells = row.split(" | ")
    return float(cells[0]), float(cells[-1])


def rates(gflops: float, engine: str) -> tuple[float, float]:
    """Images a second of the GPU, at least and at most."""
    least, most = SHARES[engine, gflops < SMALL]
    return PEAK * 1000 / gflops * least, PEAK * 1000 / gflops * most


def rounded(number: float) -> str:
    """To two digits."""
    digits = max(0, math.floor(math.log10(number)) - 1)
    return f"{round(number, -digits):,.0f}"


def row(name: str) -> str:
    """The line of a model."""
    slow, fast = (rates(GFLOPS[name], engine) for engine in ("onnxruntime", "TensorRT"))
    photo = milliseconds()[1] / 1000
    fed = CORES / photo
    limit = "the CPU" if fed < slow[0] else "the GPU" if fed > fast[1] else "either"
    cells = [
        name,
        f"{GFLOPS[name]:g}",
        *(f"{rounded(least)} to {rounded(most)}" for least, most in (slow, fast)),
        f"{math.ceil(slow[0] * photo)} to {math.ceil(fast[1] * photo)}",
        limit,
    ]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", DIMENSIONS)
def test_the_line_of_a_model_follows_from_gflops_shares_and_cpu_time(name: str) -> None:
    assert row(name) in PAGE


@pytest.mark.parametrize(("name", "dimensions"), DIMENSIONS.items(), ids=DIMENSIONS)
def test_gflops_are_those_of_the_dimensions(
    name: str, dimensions: tuple[int, int, int, int, int, bool]
) -> None:
    """Two for each multiplication of a matrix, as open_clip counts them; small things make less than 1 %."""
    patches, values, width, layers, mlp, pooled = dimensions
    tokens = patches + (not pooled)
    layer = (4 * width + 2 * mlp) * width * tokens + 2 * tokens**2 * width
    pool = 2 * width**2 * tokens if pooled else 0
    made = 2 * (patches * values * width + layers * layer + pool) / 1e9
    assert made == pytest.approx(GFLOPS[name], rel=0.01)


def test_the_page_states_the_figures_that_the_table_is_calculated_from() -> None:
    loop, photo = milliseconds()
    assert f"**{photo:g} ms** a photo, {loop:g} of them in the event loop" in PAGE
    assert f"peak of {PEAK:g} TFLOPS" in PAGE
    for (engine, small), (least, most) in SHARES.items():
        size = f"{'below' if small else 'from'} {SMALL:g} GFLOP"
        assert f"| {engine} | {size} | {least:.0%} to {most:.0%} |".replace("%", " %") in PAGE
    assert (
        f"{CORES} cores feed {CORES} / {photo / 1000:g} = {CORES * 1000 / photo:.0f} photos a second" in PAGE
    )
    assert f"{USED} / {loop / 1000:g} = {USED * 1000 / loop:.0f}" in PAGE


def test_the_example_has_the_rates_of_the_comparison_and_follows_the_formulas() -> None:
    comparison = (DOCS / "performance.md").read_text()
    (bf16,) = re.findall(r"^\| \*\*clipserve\*\* \(bf16.*?\| \*\*([\d.]+)\*\*", comparison, re.MULTILINE)
    (fp32,) = re.findall(r"^\| \*\*clipserve\*\*, fp32 \| ([\d.]+)", comparison, re.MULTILINE)
    load, cells = 1_000_000 / 3600, []
    for rate in (fp32, bf16):
        seconds = round(2 / float(rate), 3)
        cells.append(
            (f"2 / {rate} = {seconds}", f"{load:.1f} x {seconds} / 0.7 = {load * seconds / USED:.1f}")
        )
    for name, *row in zip(("CPU seconds a request", "cores"), *cells, strict=True):
        assert f"| {name} | {' | '.join(row)} |" in PAGE
    assert f"= {load:.1f} requests a second" in PAGE
