"""One figure of `make compare` as bars, out of its committed results: `make docs` draws docs/pictures/speed.svg."""

from __future__ import annotations

import re
from html import escape

from tests.docs.markdown import ROOT

RESULTS = ROOT / "loadtests/results/compare.md"
PICTURE = ROOT / "docs/pictures/speed.svg"
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
# Greys and a blue that have contrast on white and on black; where the page says which, they follow it.
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #6e7781 }
.head { font-weight: 600 } .small { font-size: 12px }
rect { fill: #8c959f } rect.ours { fill: #2f81f7 }
@media (prefers-color-scheme: light) { text { fill: #24292f } }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""
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
    results, embed = RESULTS.read_text(), contests()["embed"]
    rates = {shown: float(embed[name][0]) for name, shown in _NAMES.items()}
    title = "requests per second, more is better"
    contest = next(title for title, name in _CONTESTS.items() if name == "embed")
    parts = [_words(16, 22, title, "head"), _words(16, 56, contest, "head")]
    for number, (name, rate) in enumerate(rates.items()):
        y, length = 68 + number * _STEP, round(_LONGEST * rate / max(rates.values()))
        bar, kind = (' class="ours"', "head") if name.startswith("clipserve") else ("", "")
        parts += [
            _words(_LABELS - 8, y + 13, name, kind, "end"),
            f'<rect{bar} x="{_LABELS}" y="{y}" width="{length}" height="{_BAR}" rx="6"/>',
            _words(_LABELS + length + 6, y + 13, f"{rate:.1f}", kind),
        ]
    cpu, cores = (
        re.findall(rf"^\| {fact} \| (.*) \|$", results, re.MULTILINE)[0] for fact in ("CPU", "cores")
    )
    foot = 92 + len(rates) * _STEP
    parts.append(_words(16, foot, f"ViT-B/32 with random weights; {cpu} with bf16, {cores} cores", "small"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {foot + 8}" width="{_WIDTH}" '
        f'height="{foot + 8}" role="img">\n<title>{title}</title>\n<style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _words(x: int, y: int, text: str, kind: str = "", anchor: str = "start") -> str:
    """One line whose foot is at y. `kind`: of `head`, `small`."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x}" y="{y}" text-anchor="{anchor}">{escape(text, quote=False)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw())
