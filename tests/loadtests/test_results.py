"""The committed results of `make compare` and the documents that repeat them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from loadtests.peers.report import markdown, p50, picture, rate, ratio

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "loadtests/results"


def read(folder: Path) -> dict[str, Any]:
    """What compare.json holds."""
    found: dict[str, Any] = json.loads((folder / "compare.json").read_text())
    return found


@pytest.mark.parametrize("folder", [FOLDER, FOLDER / "zen4", FOLDER / "xeon-amx"], ids=lambda path: path.name)
def test_tables_and_picture_are_those_of_the_figures(folder: Path) -> None:
    found = read(folder)
    assert (folder / "compare.svg").read_text() == picture(found)
    assert (folder / "compare.md").read_text() == markdown(found)


@pytest.mark.parametrize(
    ("row", "who"),
    [
        (r"clipserve \(bf16, cosine 0\.9999 to fp32\)", "clipserve"),
        (r"clipserve, the same with scaled decode", "clipserve scaled"),
        (r"clipserve, int8 \(cosine 0\.9997\)", "clipserve int8"),
        (r"clipserve, fp32", "clipserve fp32"),
        (r"plain FastAPI \+ onnxruntime", "plain app"),
        (r"infinity [\d.]+", "infinity"),
        (r"clip-as-service [\d.]+", "clip-as-service"),
    ],
)
def test_the_table_of_speed_has_these_figures(row: str, who: str) -> None:
    found = read(FOLDER)
    turns = {name: contest["turns"] for name, contest in found["contests"].items()}
    table = (ROOT / "docs/performance.md").read_text().replace("**", "")
    shown = re.search(rf"^\| {row} \| (.*) \|$", table, re.MULTILINE)
    assert shown is not None
    embed, alone, *rates, memory = (cell.strip() for cell in shown[1].split("|"))
    assert embed == f"{rate(turns['embed'][who]):.1f}"
    assert alone == f"{p50(turns['embed-alone'][who]):.0f} ms"
    others = [turns[name].get(who) for name in ("embed-12mp", "classify-warm", "classify-new")]
    assert rates == [f"{rate(own):.1f}" if own else "" for own in others]
    assert memory == f"{found['contestants'][who]['peak_memory_bytes'] / 1e6:,.0f} MB"


def test_the_readme_has_these_figures_of_speed() -> None:
    turns = read(FOLDER)["contests"]["embed"]["turns"]
    told = (ROOT / "README.md").read_text().partition("\n## Speed\n")[2].partition("\n## ")[0]
    expected = [
        number
        for who in ("clipserve", "clipserve fp32")
        for number in (f"{rate(turns[who]):.1f}", f"{ratio(turns[who], turns['infinity']):.2f}")
    ]
    assert re.findall(r"\b\d+\.\d+\b", told) == expected
