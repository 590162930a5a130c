"""The tables of docs/capacity.md are calculated right; tests/test_docs.py looks at each division."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs/capacity.md").read_text()
SHARE, GPU = 0.7, 560  # of the capacity; photos a second of a GPU
DIVISIONS = re.findall(
    r"^\| (\d+) \| (.+) up: \**(\d+)\** \| (.+) \| (.+) up: \**(\d+)\** \|", PAGE, re.MULTILINE
)
STAGES = re.findall(r"^\| ([^|]+) \| (gateway|its decoders) \| ([\d.]+) \| (.+) \|$", PAGE, re.MULTILINE)
COLUMNS = [560, 1120, 2240, 4480]


def row(name: str) -> list[str]:
    """The CPU ms and the cells of a row of sums."""
    (cells,) = re.findall(rf"^\| \*\*{name}\*\*[^|]*\| \| (.+) \|$", PAGE, re.MULTILINE)
    return str(cells).replace("*", "").split(" | ")


@pytest.mark.parametrize("found", DIVISIONS, ids=lambda found: found[0])
def test_gpus_cores_and_gateways_of_a_load_are_divisions_of_it(found: tuple[str, ...]) -> None:
    load, gpus, cores, gateways = int(found[0]), int(found[2]), found[3], int(found[5])
    assert gpus == math.ceil(load / GPU)
    assert f"{load} x 0.0111 / 0.7" in cores
    assert gateways == math.ceil(load * 0.0043 / SHARE)


def test_a_reader_finds_what_2000_photos_a_second_need() -> None:
    (found,) = (found for found in DIVISIONS if found[0] == "2000")
    assert (found[2], "= **31.7**" in found[3], found[5]) == ("4", True, "13")


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage[0])
def test_the_cores_of_a_stage_are_its_cpu_time_times_the_load(stage: tuple[str, ...]) -> None:
    *_, milliseconds, cells = stage
    assert cells.split(" | ") == [f"{load * float(milliseconds) / 1000 / SHARE:.1f}" for load in COLUMNS]


def test_cores_and_gateways_are_those_of_all_stages() -> None:
    assert len(STAGES) == 6
    whole = sum(float(ms) for *_, ms, _ in STAGES)
    loop = sum(float(ms) for _, where, ms, _ in STAGES if where == "gateway")
    assert row("cores") == [f"{whole:.2f}", *(f"{load * whole / 1000 / SHARE:.1f}" for load in COLUMNS)]
    gateways = [f"{math.ceil(load * loop / 1000 / SHARE)}" for load in COLUMNS]
    assert row("gateways") == [f"{loop:.2f}", *gateways]
