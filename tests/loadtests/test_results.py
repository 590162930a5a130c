"""The committed results of `make compare` and the documents that repeat them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from loadtests.peers.report import Facts, markdown, picture
from loadtests.peers.rounds import Contest, Results, Turn
from tests.docs.walk import assert_as_shown

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "loadtests/results"


def read(folder: Path) -> tuple[Facts, list[Contest], Results]:
    """What compare.json holds."""
    raw: dict[str, Any] = json.loads((folder / "compare.json").read_text())
    told = raw.pop("contests")
    turns = {
        name: {who: [Turn(**turn) for turn in turns] for who, turns in contest["turns"].items()}
        for name, contest in told.items()
    }
    return Facts(**raw), [Contest(name, contest["about"]) for name, contest in told.items()], Results(turns)


@pytest.mark.parametrize("folder", [FOLDER, FOLDER / "zen4"], ids=lambda path: path.name)
def test_tables_and_picture_are_those_of_the_figures(folder: Path) -> None:
    known, contests, results = read(folder)
    assert (folder / "compare.svg").read_text() == picture(known, contests, results)
    # The tables were made of figures with more digits than compare.json keeps.
    assert_as_shown((folder / "compare.md").read_text(), markdown(known, contests, results))


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
    known, _, results = read(FOLDER)
    table = (ROOT / "docs/performance.md").read_text().replace("**", "")
    shown = re.search(rf"^\| {row} \| (.*) \|$", table, re.MULTILINE)
    assert shown is not None
    embed, alone, *rates, memory = (cell.strip() for cell in shown[1].split("|"))
    assert embed == f"{results.rate('embed', who):.1f}"
    assert alone == f"{results.p50('embed-alone', who):.0f} ms"
    others = [results.turns[name].get(who) for name in ("embed-12mp", "classify-warm", "classify-new")]
    assert rates == [f"{median(turn.rate for turn in turns):.1f}" if turns else "" for turns in others]
    assert memory == f"{known.contestants[who]['peak_memory_bytes'] / 1e6:,.0f} MB"


def test_the_readme_has_these_figures_of_speed() -> None:
    _, _, results = read(FOLDER)
    told = (ROOT / "README.md").read_text().partition("\n## Speed\n")[2].partition("\n## ")[0]
    expected = [
        number
        for who in ("clipserve", "clipserve fp32")
        for number in (f"{results.rate('embed', who):.1f}", f"{results.ratio('embed', who, 'infinity'):.2f}")
    ]
    assert re.findall(r"\b\d+\.\d+\b", told) == expected
