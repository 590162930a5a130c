"""The documents that repeat the committed results of `make compare`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "loadtests/results/compare.md"
EMBED, ALONE = (f"vector of a 640 x 480 JPEG, {clients}" for clients in ("8 clients", "1 client"))
OTHERS = (
    "vector of a 4000 x 3000 JPEG, 8 clients",
    "10 labels, always the same, 8 clients",
    "10 labels, new in each request, 8 clients",
)


def rows(contest: str) -> dict[str, tuple[str, str]]:
    """Of each server in this contest: requests a second, and p50 in ms."""
    row = rf"^\| {re.escape(contest)} \| ([^|]+) \| ([\d.]+) \| [^|]+ \| ([\d.,]+) \|"
    found = re.findall(row, RESULTS.read_text(), re.MULTILINE)
    return {server: (rate, p50) for server, rate, p50 in found}


@pytest.mark.parametrize(
    ("row", "who"),
    [
        (r"clipserve \(bf16, cosine 0\.9999 to fp32\)", "clipserve"),
        (r"clipserve, the same with scaled decode", "clipserve scaled"),
        (r"clipserve, int8 \(cosine 0\.9998\)", "clipserve int8"),
        (r"clipserve, fp32", "clipserve fp32"),
        (r"plain FastAPI \+ onnxruntime", "plain app"),
        (r"infinity [\d.]+", "infinity"),
    ],
)
def test_the_table_of_speed_has_these_figures(row: str, who: str) -> None:
    table = (ROOT / "docs/production.md").read_text().replace("**", "")
    shown = re.search(rf"^\| {row} \| (.*) \|$", table, re.MULTILINE)
    assert shown is not None
    embed, alone, *rates, memory = (cell.strip() for cell in shown[1].split("|"))
    assert embed == rows(EMBED)[who][0]
    assert alone == f"{float(rows(ALONE)[who][1]):.0f} ms"
    others = [rows(contest).get(who, ("",))[0] for contest in OTHERS]
    assert rates == others
    assert re.search(rf"^\| {who} \| [\d.]+ s \| {memory} \|", RESULTS.read_text(), re.MULTILINE)


def test_the_readme_has_these_figures_of_speed() -> None:
    embed = rows(EMBED)
    told = (ROOT / "README.md").read_text().partition("\n## Speed\n")[2].partition("\n## ")[0]
    expected = list[str]()
    for who in ("clipserve", "clipserve fp32"):
        rate = embed[who][0]
        expected += [rate, f"{float(rate) / float(embed['infinity'][0]):.2f}"]
    assert re.findall(r"\b\d+\.\d+\b", told) == expected
