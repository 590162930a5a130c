"""One figure of `make compare` as bars, out of its committed results."""

from __future__ import annotations

import re

from tests.docs.markdown import ROOT
from tests.docs.pictures.svg import Drawing

RESULTS = ROOT / "loadtests/results/compare.md"
_NAMES = {  # in the results: in the picture
    "clipserve": "clipserve, bf16",
    "clipserve int8": "clipserve, int8",
    "clipserve fp32": "clipserve, fp32",
    "plain app": "plain app",
    "infinity": "infinity",
}


_CONTESTS = {  # in the results: what compares them
    "vector of a 640 x 480 JPEG, 8 clients": "embed",
    "vector of a 640 x 480 JPEG, 1 client": "embed-alone",
    "vector of a 4000 x 3000 JPEG, 8 clients": "embed-12mp",
    "10 labels, always the same, 8 clients": "classify-warm",
    "10 labels, new in each request, 8 clients": "classify-new",
}
# Pixels: the whole, the names on the left, the longest bar, a bar, from one to the next.
_WIDTH, _LABELS, _LONGEST, _BAR, _STEP = 760, 186, 498, 16, 22


def contests() -> dict[str, dict[str, tuple[str, str]]]:
    """The first table: contest -> server -> requests a second, p50 in ms."""
    found: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in _CONTESTS.values()}
    for title, name in _CONTESTS.items():
        row = rf"^\| {re.escape(title)} \| ([^|]+) \| ([\d.]+) \| [^|]+ \| ([\d.,]+) \|"
        for server, rate, p50 in re.findall(row, RESULTS.read_text(), re.MULTILINE):
            found[name][server] = rate, p50
    return found


def draw() -> str:
    """The picture: photos embedded a second, the medians of all rounds."""
    text, embed = RESULTS.read_text(), contests()["embed"]
    rates = {shown: float(embed[name][0]) for name, shown in _NAMES.items()}
    title = "requests per second, more is better"
    drawing = Drawing(title, _WIDTH)
    drawing.words(16, 22, title, "head")
    drawing.words(16, 56, next(title for title, name in _CONTESTS.items() if name == "embed"), "head")
    for number, (name, rate) in enumerate(rates.items()):
        y, length = 68 + number * _STEP, round(_LONGEST * rate / max(rates.values()))
        bar, words = ("bar ours", "head") if name.startswith("clipserve") else ("bar", "")
        drawing.words(_LABELS - 8, y + 13, name, words, "end")
        drawing.box(_LABELS, y, length, _BAR, bar)
        drawing.words(_LABELS + length + 6, y + 13, f"{rate:.1f}", words)
    cpu, cores = (re.findall(rf"^\| {fact} \| (.*) \|$", text, re.MULTILINE)[0] for fact in ("CPU", "cores"))
    about = f"ViT-B/32 with random weights; {cpu} with bf16, {cores} cores"
    drawing.words(16, 92 + len(rates) * _STEP, about, "small")
    return drawing.text()
