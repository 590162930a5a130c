"""One figure of `make compare` as bars, out of its committed results."""

from __future__ import annotations

import re

from tests.docs.markdown import ROOT
from tests.docs.pictures.chart import Bar, Panel, chart

RESULTS = ROOT / "loadtests/results/compare.md"
_NAMES = {  # in the results: in the picture
    "clipserve": "clipserve, bf16",
    "clipserve int8": "clipserve, int8",
    "clipserve fp32": "clipserve, fp32",
    "plain app": "plain app",
    "infinity": "infinity",
    "clip-as-service": "clip-as-service",
}


def contests() -> dict[str, dict[str, list[str]]]:
    """The tables: contest -> server -> requests a second, p50, multiples of others."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, section in re.findall(r"^## ([\w-]+):.*\n\n((?:\|.*\n)+)", RESULTS.read_text(), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()[2:]]
        found[name] = {row[0]: row[1:] for row in rows}
    return found


def draw() -> str:
    """The picture: photos embedded a second, the medians of all rounds."""
    text, rates = RESULTS.read_text(), contests()["embed"]
    bars = [Bar(shown, float(rates[name][0]), "clipserve," in shown) for name, shown in _NAMES.items()]
    (title,) = re.findall(r"^## embed: (.*)$", text, re.MULTILINE)
    (date,) = re.findall(r", (\d[\d-]+ [\d:]+ UTC)\.", text)
    (artifact,) = re.findall(r" own\. (\S+)\.$", text, re.MULTILINE)
    cpu, cores = (re.findall(rf"^- {fact}: (.*)$", text, re.MULTILINE)[0] for fact in ("CPU", "cores"))
    footer = f"{artifact}; {cpu} with bf16, {cores} cores; {date}"
    return chart("requests per second, more is better", [Panel(title, bars)], footer)
